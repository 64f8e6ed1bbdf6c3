//! Opens what lies beneath a folder, and nothing else: no link on the way is followed, also not one that is put there at the right
//! moment, and no name leads up. Linux does that in one call, `openat2`. Elsewhere, and where that call is missing (kernels before
//! 5.6, gVisor, old container engines), each part of the path is opened by itself, beneath the handle of the part before.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// How paths are resolved; both ways answer alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All of it by the kernel, in one call.
    #[cfg(target_os = "linux")]
    Kernel,
    /// Part by part.
    Steps,
}

impl Way {
    /// The fastest that this system has.
    #[cfg(target_os = "linux")]
    pub(super) fn of_this_system() -> Self {
        static WAY: std::sync::OnceLock<Way> = std::sync::OnceLock::new();
        *WAY.get_or_init(|| {
            let way = Self::probe();
            if way == Self::Steps {
                tracing::info!(
                    "this system has no openat2 (or a container engine forbids it); pictures are opened folder by folder, which is as safe, and slower in deep folders"
                );
            }
            way
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_this_system() -> Self {
        Self::Steps
    }

    /// Old container engines say "not permitted" of calls that they do not know.
    #[cfg(target_os = "linux")]
    fn probe() -> Self {
        let here = rustix::fs::CWD;
        match open_by_kernel(here, Path::new("."), OFlags::PATH, Mode::empty()) {
            Err(Errno::NOSYS | Errno::PERM) => Self::Steps,
            _ => Self::Kernel,
        }
    }

    /// Opens `relative` beneath `root`; `.` is the root itself. A link as the last part is not followed either.
    pub(super) fn open(
        self,
        root: &File,
        relative: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => open_by_kernel(root.as_fd(), relative, flags, mode),
            Self::Steps => open_by_steps(root.as_fd(), relative, flags, mode),
        };
        Ok(opened?.into())
    }

    /// What is at `relative`, which may be a link, without opening it.
    pub(super) fn stat(self, root: &File, relative: &Path) -> io::Result<Stat> {
        let stat = match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let there = open_by_kernel(root.as_fd(), relative, flags, Mode::empty());
                there.and_then(rustix::fs::fstat)
            }
            Self::Steps => stat_by_steps(root.as_fd(), relative),
        };
        Ok(stat?)
    }
}

#[cfg(target_os = "linux")]
fn open_by_kernel(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, relative, flags, mode, resolve)
}

fn open_by_steps(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let (above, last) = go_to(root, relative)?;
    let above = above.as_ref().map_or(root, AsFd::as_fd);
    open_part(above, last, flags, mode)
}

fn stat_by_steps(root: BorrowedFd<'_>, relative: &Path) -> Result<Stat, Errno> {
    let (above, last) = go_to(root, relative)?;
    let above = above.as_ref().map_or(root, AsFd::as_fd);
    rustix::fs::statat(above, last, AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens every folder on the way to the last part. `None` instead of one stands for the root.
fn go_to<'a>(
    root: BorrowedFd<'_>,
    relative: &'a Path,
) -> Result<(Option<OwnedFd>, &'a OsStr), Errno> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (mut above, mut last) = (None::<OwnedFd>, None);
    for part in relative.components() {
        let part = match part {
            Component::Normal(part) => part,
            Component::CurDir => continue,
            // What the kernel says of a way out.
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Errno::XDEV);
            }
        };
        if let Some(name) = last.replace(part) {
            let from = above.as_ref().map_or(root, AsFd::as_fd);
            above = Some(open_part(from, name, folder, Mode::empty())?);
        }
    }
    match last {
        Some(last) => Ok((above, last)),
        None if relative.as_os_str().is_empty() => Err(Errno::NOENT),
        None => Ok((None, OsStr::new("."))),
    }
}

/// `name` is one part of a path, and `flags` hold NOFOLLOW, so there is nothing on the way that could lead elsewhere.
fn open_part(
    above: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let opened = rustix::fs::openat(above, name, flags, mode);
    // A link where a folder has to be: some systems say only that it is no folder.
    if opened.as_ref().err() == Some(&Errno::NOTDIR) {
        let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink()) {
            return Err(Errno::LOOP);
        }
    }
    opened
}

#[cfg(test)]
mod tests;
