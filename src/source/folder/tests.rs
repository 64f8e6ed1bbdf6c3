//! What is particular to folders, beside the suite that every source passes.

use std::os::unix::fs::symlink;

use futures::StreamExt;

use super::*;
use crate::source::address::folders;
use crate::source::conformance::{self, Subject, listed, name};
use crate::source::{Listed, memory::MemorySource};

struct Place<const BY_STEPS: bool> {
    dir: tempfile::TempDir,
    source: Arc<FolderSource>,
}

/// As this system opens pictures; on Linux the kernel resolves paths.
type InFolder = Place<false>;
/// As systems do that cannot.
type BySteps = Place<true>;

/// Makes a test of each case for both ways of opening.
macro_rules! for_both_ways {
    ($($case:ident),+ $(,)?) => {
        mod in_folder {
            use super::Subject as _;
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::InFolder::start()).await;
            })+
        }
        mod by_steps {
            use super::Subject as _;
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::BySteps::start()).await;
            })+
        }
    };
}

for_both_ways!(
    neither_hidden_files_nor_links_are_listed_or_opened,
    pipes_sockets_and_devices_are_neither_listed_nor_waited_for,
    creating_leaves_no_partial_file_and_follows_no_link,
    names_that_could_not_be_listed_or_deleted_are_refused_and_leave_nothing,
    very_deep_folders_are_listed,
);

impl<const BY_STEPS: bool> Place<BY_STEPS> {
    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
}

impl<const BY_STEPS: bool> Subject for Place<BY_STEPS> {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("root");
        std::fs::create_dir(&root).expect("mkdir");
        let source = source(&root, 100_000);
        let source = if BY_STEPS { source.by_steps() } else { source };
        Self { dir, source: Arc::new(source) }
    }

    fn source(&self) -> Arc<dyn Source> {
        self.source.clone()
    }

    fn put(&self, name: &ImageName, bytes: &[u8]) {
        let path = self.root().join(name.as_str());
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        std::fs::write(path, bytes).expect("write");
    }

    fn remove(&self, name: &ImageName) {
        std::fs::remove_file(self.root().join(name.as_str())).expect("remove");
    }

    /// Most disks of macOS know no difference of case, and no letters that Unicode does not have.
    fn takes(&self, name: &str) -> bool {
        let is_taken = |letter: char| !letter.is_uppercase() && letter != '\u{10FFFF}';
        !cfg!(target_os = "macos") || name.chars().all(is_taken)
    }

    fn lock(&self, folder: &ImageName) {
        self.source.folder.locked.lock().insert(folder.as_str().into());
    }

    fn unplug(&self) {
        std::fs::rename(self.root(), self.dir.path().join("unplugged")).expect("rename");
    }

    fn plug_in(&self) {
        std::fs::rename(self.dir.path().join("unplugged"), self.root()).expect("rename");
    }
}

mod folder {
    crate::source::conformance::conformance_tests!(super::InFolder);
}

mod folder_by_steps {
    crate::source::conformance::conformance_tests!(super::BySteps);
}

struct InMemory(MemorySource);

impl Subject for InMemory {
    fn start() -> Self {
        Self(MemorySource::default())
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::new(self.0.clone())
    }

    fn put(&self, name: &ImageName, bytes: &[u8]) {
        self.0.put(name, bytes);
    }

    fn remove(&self, name: &ImageName) {
        self.0.remove(name);
    }

    fn lock(&self, folder: &ImageName) {
        self.0.fail(|faults| faults.unreadable.extend([folder.clone()]));
    }

    fn unplug(&self) {
        self.0.fail(|faults| faults.away = Some("unplugged".into()));
    }

    fn plug_in(&self) {
        self.0.fail(|faults| faults.away = None);
    }
}

mod memory {
    crate::source::conformance::conformance_tests!(super::InMemory);
}

fn source(root: &Path, images_max: usize) -> FolderSource {
    let ignore = ["*.part".to_owned(), "Thumbs.db".to_owned()];
    folders(&[root.to_path_buf()], None, &ignore, images_max).expect("valid patterns").remove(0)
}

/// Everything that a listing tells.
async fn items(source: &FolderSource, scope: Scope) -> Vec<Listed> {
    let mut listing = source.list(&scope, None);
    let mut items = Vec::new();
    while let Some(item) = listing.next().await.expect("a list that ends") {
        items.push(item);
    }
    items
}

async fn neither_hidden_files_nor_links_are_listed_or_opened<const B: bool>(subject: Place<B>) {
    let dir = subject.root();
    let outside = tempfile::tempdir().expect("temp");
    std::fs::write(outside.path().join("secret.png"), "x").expect("write");
    std::fs::create_dir_all(dir.join(".hidden")).expect("mkdir");
    for file in ["a.png", ".DS_Store", ".hidden/b.png", "copy.png.part", "Thumbs.db"] {
        std::fs::write(dir.join(file), "x").expect("write");
    }
    symlink(outside.path(), dir.join("link")).expect("link");
    symlink(outside.path().join("secret.png"), dir.join("secret.png")).expect("link");
    let source = &*subject.source;
    assert_eq!(listed(source, Scope::All).await, ["a.png"]);
    for nothing in ["link", "link/secret.png", "secret.png", ".hidden", "Thumbs.db"] {
        assert!(listed(source, Scope::Under(name(nothing))).await.is_empty(), "{nothing}");
    }
    for leading_out in ["link/secret.png", "secret.png"] {
        let error = source.open(&name(leading_out)).await.err().expect("not followed");
        assert_eq!(error, SourceError::NotAFile(name(leading_out)));
        assert_eq!(source.stat(&name(leading_out)).await, Err(error));
    }
    for never_listed in [".hidden/b.png", "copy.png.part"] {
        let error = source.stat(&name(never_listed)).await.expect_err("not ours");
        assert_eq!(error, SourceError::NotFound(name(never_listed)));
    }
}

#[tokio::test]
async fn a_list_that_reaches_the_limit_says_so() {
    let subject = InFolder::start();
    for number in 0..5 {
        subject.put(&name(&format!("{number}")), b"x");
    }
    let told = items(&source(&subject.root(), 3), Scope::All).await;
    let count =
        |told: &[Listed]| told.iter().filter(|item| matches!(item, Listed::Image(..))).count();
    assert_eq!((count(&told), told.last()), (3, Some(&Listed::Truncated)));
    let told = items(&source(&subject.root(), 5), Scope::All).await;
    assert_eq!((count(&told), told.len()), (5, 5), "exactly as many as allowed are all there is");
}

/// Disks of macOS take none.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn names_that_are_not_utf_8_are_told_and_not_walked_into() {
    use std::os::unix::ffi::OsStrExt;
    let subject = InFolder::start();
    subject.put(&name("a"), b"x");
    for bad in [&b"\xff.png"[..], b"b\xff/x.png"] {
        let path = subject.root().join(std::ffi::OsStr::from_bytes(bad));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        std::fs::write(path, "x").expect("write");
    }
    let told = items(&subject.source, Scope::All).await;
    let unnameable = told.iter().filter(
        |item| matches!(item, Listed::Unnameable { reason, .. } if reason.contains("UTF-8")),
    );
    assert_eq!((unnameable.count(), told.len()), (2, 3), "{told:?}");
}

async fn pipes_sockets_and_devices_are_neither_listed_nor_waited_for<const B: bool>(
    subject: Place<B>,
) {
    let made = std::process::Command::new("mkfifo").arg(subject.root().join("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let socket = std::os::unix::net::UnixListener::bind(subject.root().join("socket"));
    let _listening = socket.expect("bound");
    assert!(listed(&*subject.source(), Scope::All).await.is_empty());
    for no_file in ["pipe", "socket"] {
        let no_file = name(no_file);
        let opened = subject.source.open(&no_file).await.err();
        assert_eq!(opened, Some(SourceError::NotAFile(no_file.clone())));
    }
    let devices = source(Path::new("/dev"), 10);
    let devices = if B { devices.by_steps() } else { devices };
    let null = name("null");
    assert_eq!(devices.open(&null).await.err(), Some(SourceError::NotAFile(null)));
}

async fn creating_leaves_no_partial_file_and_follows_no_link<const B: bool>(subject: Place<B>) {
    let outside = tempfile::tempdir().expect("temp");
    symlink(outside.path(), subject.root().join("link")).expect("link");
    subject.source.create(&name("new/a.png"), b"bytes").await.expect("created");
    subject.source.create(&name("new/a.png"), b"other").await.expect_err("taken");
    let files = std::fs::read_dir(subject.root().join("new")).expect("dir").count();
    assert_eq!(files, 1, "a partial file was left");
    subject.source.create(&name("link/a.png"), b"bytes").await.expect_err("a link");
    assert_eq!(std::fs::read_dir(outside.path()).expect("dir").count(), 0);
}

async fn names_that_could_not_be_listed_or_deleted_are_refused_and_leave_nothing<const B: bool>(
    subject: Place<B>,
) {
    subject.put(&name("file"), b"x");
    let (long, deep) = ("x".repeat(256), format!("{}xx", "d/".repeat(PATH_BYTES_MAX / 2)));
    for bad in [".hidden", "a/.b/c", &long, &format!("new/{long}"), &deep, "file/below"] {
        let refused = subject.source.create(&name(bad), b"bytes").await;
        assert!(matches!(refused, Err(SourceError::BadName { .. })), "{bad:.20}: {refused:?}");
    }
    assert_eq!(std::fs::read_dir(subject.root()).expect("dir").count(), 1, "something is left");
    let longest = format!("new/{}", "x".repeat(255));
    subject.source.create(&name(&longest), b"bytes").await.expect("as long as it may be");
    subject.source.delete(&name(&longest)).await.expect("deleted");
}

#[tokio::test]
async fn another_folder_in_its_place_has_another_identity() {
    let subject = InFolder::start();
    let before = subject.source.identity().await.expect("there");
    subject.unplug();
    std::fs::create_dir(subject.root()).expect("mkdir");
    assert_ne!(subject.source.identity().await.expect("there"), before);
}

/// Every level is a folder of its own and none is kept open meanwhile.
async fn very_deep_folders_are_listed<const B: bool>(subject: Place<B>) {
    let deep = format!("{}x", "d/".repeat(PATH_BYTES_MAX / 3));
    subject.source.create(&name(&deep), b"x").await.expect("created");
    subject.put(&name("e"), b"x");
    assert_eq!(listed(&*subject.source(), Scope::All).await, [deep, "e".to_owned()]);
}

#[test]
fn further_folders_are_told_apart_by_name() {
    let dir = tempfile::tempdir().expect("temp");
    let roots: Vec<PathBuf> =
        ["one/photos", "two/photos", "three"].map(|path| dir.path().join(path)).to_vec();
    for root in &roots {
        std::fs::create_dir_all(root).expect("mkdir");
    }
    let sources = folders(&roots, None, &[], 10).expect("sources");
    let named = |index: usize| sources[index].folder.scope_of(&roots[index].join("x.png"));
    assert_eq!(named(0), Some(Scope::Under(name("x.png"))));
    assert_eq!(named(1), Some(Scope::Under(name("@photos-2/x.png"))));
    assert_eq!(named(2), Some(Scope::Under(name("@three/x.png"))));
    assert_eq!(sources[0].folder.scope_of(Path::new("/elsewhere")), None);
    assert_eq!(sources[0].folder.scope_of(&roots[0].join(".hidden/x")), None);
}

#[tokio::test]
async fn names_of_a_further_folder_carry_its_name() {
    let dir = tempfile::tempdir().expect("temp");
    let roots = ["one", "two"].map(|path| dir.path().join(path));
    for root in &roots {
        std::fs::create_dir_all(root.join("x")).expect("mkdir");
        std::fs::write(root.join("x/y"), "z").expect("write");
    }
    let sources = folders(&roots, None, &[], 10).expect("sources");
    assert_eq!(listed(&sources[1], Scope::All).await, ["@two/x/y"]);
    assert_eq!(listed(&sources[1], Scope::Under(name("@two/x"))).await, ["@two/x/y"]);
    assert!(listed(&sources[1], Scope::Under(name("x"))).await.is_empty());
    let after = sources[1].list(&Scope::All, Some(&name("@two/x/x")));
    let mut after = after;
    assert!(
        matches!(after.next().await, Ok(Some(Listed::Image(found, _))) if found == name("@two/x/y"))
    );
    assert!(conformance::listed(&sources[0], Scope::All).await == ["x/y"]);
}

#[tokio::test]
async fn all_is_heard_while_somebody_listens_to_a_folder_of_this_machine() {
    let in_folder = InFolder::start();
    let (source, root) = (in_folder.source(), in_folder.root());
    let is_local = in_folder.source.folder.is_on_this_machine();
    assert!(!source.hears_everything(), "nobody listens yet");
    let mut hints = source.hints().expect("hints");
    assert_eq!(hints.next().await, Some(vec![Scope::All]));
    assert_eq!(source.hears_everything(), is_local);
    std::fs::rename(&root, in_folder.dir.path().join("unplugged")).expect("rename");
    assert!(!source.hears_everything(), "there is nothing to be heard");
    assert_eq!(hints.next().await, Some(vec![Scope::All]));
    drop(hints);
    assert!(!source.hears_everything());
}
