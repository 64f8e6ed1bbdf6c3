//! Both ways of opening beneath a folder, held to the same attacks. On Linux both are tried; what other systems do is `Steps`.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::RenameFlags;

use super::*;

const WAYS: &[Way] = &[
    #[cfg(target_os = "linux")]
    Way::Kernel,
    Way::Steps,
];
/// As pictures are opened: without waiting for whoever is at the other end of a pipe.
const READING: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
const SECRET: &str = "secret";

/// `root` with `folder/inside.png`, beside `outside` with a secret of the same name.
struct Place {
    dir: tempfile::TempDir,
    root: File,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp");
        for (folder, text) in [("root/folder", "inside"), ("outside", SECRET)] {
            let folder = dir.path().join(folder);
            std::fs::create_dir_all(&folder).expect("mkdir");
            std::fs::write(folder.join("inside.png"), text).expect("written");
        }
        let root = File::open(dir.path().join("root")).expect("opened");
        Self { dir, root }
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn read(&self, way: Way, relative: &str) -> io::Result<String> {
        let mut text = String::new();
        way.open(&self.root, Path::new(relative), READING, Mode::empty())?
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// What opening and looking say of it, which must be the same error.
    fn refusal(&self, way: Way, relative: &str) -> Errno {
        let error = self.read(way, relative).expect_err("it must be refused");
        let looked = way.stat(&self.root, Path::new(relative)).expect_err("refused, too");
        assert_eq!(looked.raw_os_error(), error.raw_os_error(), "{way:?} {relative}");
        Errno::from_io_error(&error).expect("an error of the system")
    }

    fn kind(&self, way: Way, relative: &str) -> FileType {
        let stat = way.stat(&self.root, Path::new(relative)).expect("looked at");
        FileType::from_raw_mode(stat.st_mode)
    }
}

#[test]
fn what_lies_beneath_is_opened_and_looked_at() {
    let place = Place::new();
    std::fs::create_dir_all(place.inside("a/b/c")).expect("mkdir");
    std::fs::write(place.inside("a/b/c/d"), "deep").expect("written");
    for &way in WAYS {
        assert_eq!(place.read(way, "folder/inside.png").expect("opened"), "inside");
        assert_eq!(place.read(way, "./a/b/c/d").expect("opened"), "deep");
        assert_eq!(place.kind(way, "a/b"), FileType::Directory);
        assert_eq!(place.kind(way, "a/b/c/d"), FileType::RegularFile);
        assert_eq!(place.kind(way, "."), FileType::Directory);
        let folder = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = way.open(&place.root, Path::new("."), folder, Mode::empty()).expect("opened");
        assert_eq!(place.read(way, "nothing").expect_err("none").kind(), io::ErrorKind::NotFound);
        let inode = |file: &File| rustix::fs::fstat(file).expect("looked at").st_ino;
        assert_eq!(inode(&root), inode(&place.root));
    }
}

#[test]
fn no_name_leads_up_or_elsewhere() {
    let place = Place::new();
    let absolute = place.outside().join("inside.png").display().to_string();
    for &way in WAYS {
        for name in ["..", "../outside/inside.png", "folder/../../outside/inside.png", &absolute] {
            assert_eq!(place.refusal(way, name), Errno::XDEV, "{way:?} {name}");
        }
        assert_eq!(place.refusal(way, ""), Errno::NOENT, "{way:?}");
        assert_eq!(place.refusal(way, "folder/inside.png/x"), Errno::NOTDIR, "{way:?}");
    }
}

#[test]
fn no_link_is_followed_wherever_it_stands_or_leads() {
    let place = Place::new();
    std::fs::create_dir(place.inside("deep")).expect("mkdir");
    for (target, link) in [
        (place.outside(), "out"),
        (place.outside().join("inside.png"), "out.png"),
        ("../../outside".into(), "deep/out"),
        // Links that stay inside are no better: they may be changed.
        ("folder".into(), "in"),
        ("folder/inside.png".into(), "in.png"),
        ("round".into(), "round"),
    ] {
        symlink(target, place.inside(link)).expect("linked");
    }
    for &way in WAYS {
        for name in ["out/inside.png", "deep/out/inside.png", "in/inside.png", "round/x"] {
            assert_eq!(place.refusal(way, name), Errno::LOOP, "{way:?} {name}");
        }
        for name in ["out", "out.png", "in.png", "round"] {
            let error = place.read(way, name).expect_err("refused");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::LOOP), "{way:?} {name}");
            assert_eq!(place.kind(way, name), FileType::Symlink, "{way:?} {name}");
        }
        let folder = OFlags::RDONLY | OFlags::DIRECTORY;
        let listed = way.open(&place.root, Path::new("out"), folder, Mode::empty());
        assert!(listed.is_err(), "{way:?} lists a folder behind a link");
        let write = OFlags::WRONLY | OFlags::CREATE;
        for name in ["out/new", "out.png"] {
            let made = way.open(&place.root, Path::new(name), write, Mode::from_raw_mode(0o644));
            assert!(made.is_err(), "{way:?} writes through {name}");
        }
    }
    assert_eq!(std::fs::read_dir(place.outside()).expect("listed").count(), 1);
    let secret = std::fs::read_to_string(place.outside().join("inside.png"));
    assert_eq!(secret.expect("read"), SECRET);
}

#[test]
fn pipes_and_devices_are_not_waited_for() {
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.inside("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let dev = File::open("/dev").expect("opened");
    for &way in WAYS {
        // With nobody at its other end: reading gives the end at once, and looking does not open it.
        assert_eq!(place.read(way, "pipe").expect("opened"), "", "{way:?}");
        assert_eq!(place.kind(way, "pipe"), FileType::Fifo, "{way:?}");
        let null = way.stat(&dev, Path::new("null")).expect("looked at");
        assert!(FileType::from_raw_mode(null.st_mode).is_char_device(), "{way:?}");
    }
}

/// Somebody exchanges a folder (or a file) for a link that leads out, over and over, while it is opened. Whatever is read must have
/// been inside.
#[test]
fn a_link_that_is_swapped_in_meanwhile_leads_nowhere() {
    const TRIES: usize = 50_000;
    let place = Place::new();
    std::fs::write(place.inside("file"), "inside").expect("written");
    symlink(place.outside(), place.inside("folder-link")).expect("linked");
    symlink(place.outside().join("inside.png"), place.inside("file-link")).expect("linked");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (real, link) in [("folder", "folder-link"), ("file", "file-link")] {
                    let exchange = RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(&place.root, real, &place.root, link, exchange)
                        .expect("exchanged");
                }
            }
        });
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for name in ["folder/inside.png", "file"] {
                for &way in WAYS.iter().cycle().take(TRIES) {
                    if let Ok(text) = place.read(way, name) {
                        assert_eq!(text, "inside", "{way:?} {name} led out");
                    }
                }
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = attacked {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Where the kernel, or whoever encloses this program, does not let it have the call.
#[cfg(target_os = "linux")]
#[test]
fn systems_without_the_call_are_recognised() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    assert_eq!(Way::probe(), Way::Kernel, "this test needs a system that has it");
    for refusal in [libc::ENOSYS, libc::EPERM] {
        // A filter holds for the thread that applies it.
        let probed = std::thread::spawn(move || {
            let rules = [(libc::SYS_openat2, Vec::new())].into();
            let here = std::env::consts::ARCH.try_into().expect("an architecture it knows");
            let refuse = SeccompAction::Errno(refusal as u32);
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here);
            let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
            apply_filter(&program).expect("applied");
            Way::probe()
        });
        assert_eq!(probed.join().expect("joined"), Way::Steps);
    }
}
