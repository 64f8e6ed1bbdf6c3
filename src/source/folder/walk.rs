//! Lists a folder in the order of the names' bytes, which is the catalog's order. One folder's entries are sorted at a time,
//! folders as if their name ended with a slash: "a.png" < "a/b" < "a0". So memory is bounded by the largest folder and the
//! folders above it. Files are looked at when their turn comes, relative to one open folder; the root stays open throughout,
//! so that a disk which is unmounted meanwhile gives errors and does not look empty.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::{Folder, fingerprint};
use crate::printable::printable;
use crate::source::error::is_trouble;
use crate::source::{Listed, ListingWriter, SourceError, Stopped};
use crate::types::{ImageName, Scope};

/// Entries between two looks at whether anybody still listens.
const ENTRIES_BETWEEN_SIGNS: usize = 512;

/// Why a walk ends early.
enum Halt {
    Stopped,
    Broken(SourceError),
}

impl From<Stopped> for Halt {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Lists what is in `scope` behind `after`.
pub(super) fn list(
    folder: &Folder,
    scope: &Scope,
    after: Option<&ImageName>,
    mut writer: ListingWriter,
) {
    let walked = match folder.open_root() {
        Ok(root) => {
            let left = folder.images_max;
            let mut walk =
                Walk { folder, root, after, writer: &mut writer, left, stack: Vec::new() };
            walk.start(scope).and_then(|()| walk.run())
        }
        Err(error) => Err(Halt::Broken(folder.away(&error))),
    };
    match walked {
        Ok(()) => writer.end(),
        Err(Halt::Broken(error)) => writer.broken(error),
        Err(Halt::Stopped) => {}
    }
}

struct Walk<'a> {
    folder: &'a Folder,
    root: File,
    after: Option<&'a ImageName>,
    writer: &'a mut ListingWriter,
    /// Files until the limit.
    left: usize,
    /// The folders on the way to where we are.
    stack: Vec<Level>,
}

struct Level {
    /// Below the root; empty for the root itself.
    path: PathBuf,
    /// What is still to come, in order.
    entries: std::vec::IntoIter<Entry>,
    /// Closed while we are in a folder below, so that depth costs no handles.
    handle: Option<File>,
}

/// Its name; that of a folder ends with a slash.
type Entry = Box<[u8]>;

impl Walk<'_> {
    /// Finds where to begin.
    fn start(&mut self, scope: &Scope) -> Result<(), Halt> {
        let Scope::Under(name) = scope else { return self.enter(PathBuf::new()) };
        let Some(relative) = self.folder.path_of(name) else { return Ok(()) };
        match self.folder.way.stat(&self.root, relative) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                self.enter(relative.to_path_buf())
            }
            Ok(stat) => self.found(name.clone(), &stat),
            Err(error) => self.not_looked_at(relative, &error),
        }
    }

    fn run(&mut self) -> Result<(), Halt> {
        while let Some(level) = self.stack.last_mut() {
            let Some(entry) = level.entries.next() else {
                self.stack.pop();
                continue;
            };
            if self.left == 0 {
                self.writer.push(Listed::Truncated)?;
                return Ok(());
            }
            if let Some(folder_name) = entry.strip_suffix(b"/") {
                let path = level.path.join(std::ffi::OsStr::from_bytes(folder_name));
                level.handle = None;
                match self.folder.name_of(&path) {
                    Some(_) => self.enter(path)?,
                    None => self.unnameable(&path)?,
                }
            } else {
                self.look_at(&entry)?;
            }
        }
        Ok(())
    }

    /// Reads and sorts a folder, and makes it the current one.
    fn enter(&mut self, path: PathBuf) -> Result<(), Halt> {
        if path.as_os_str().is_empty() {
            // An error without a path protects everything.
            let (handle, entries) = self
                .read(&path)
                .and_then(|(handle, entries, error)| match error {
                    None => Ok((handle, entries)),
                    Some(error) => Err(error),
                })
                .map_err(|error| Halt::Broken(self.folder.away(&error)))?;
            let entries = self.sorted(&path, entries)?;
            self.stack.push(Level { path, entries, handle: Some(handle) });
            return Ok(());
        }
        match self.read(&path) {
            Ok((handle, entries, error)) => {
                if let Some(error) = error {
                    self.not_looked_at(&path, &error)?;
                }
                let entries = self.sorted(&path, entries)?;
                self.stack.push(Level { path, entries, handle: Some(handle) });
                Ok(())
            }
            Err(error) => self.not_looked_at(&path, &error),
        }
    }

    /// A folder's entries that may matter, and the error that cut them short.
    fn read(&mut self, path: &Path) -> io::Result<(File, Vec<Entry>, Option<io::Error>)> {
        #[cfg(test)]
        if self.folder.locked.lock().contains(path) {
            return Err(Errno::ACCESS.into());
        }
        let handle = self.open(path)?;
        let mut entries: Vec<Entry> = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Ok((handle, entries, Some(error.into()))),
            };
            let name = entry.file_name().to_bytes();
            let shown = Path::new(std::ffi::OsStr::from_bytes(name));
            if self.folder.has_ignored_part(shown) || self.folder.is_excluded(&path.join(shown)) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => kind_of(&handle, name),
                kind => kind,
            };
            match kind {
                FileType::Directory => entries.push([name, b"/"].concat().into()),
                FileType::RegularFile | FileType::Unknown => entries.push(name.into()),
                _ => {}
            }
            if entries.len().is_multiple_of(ENTRIES_BETWEEN_SIGNS) && self.writer.working().is_err()
            {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok((handle, entries, None))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.folder.open_folder(&self.root, path)
    }

    /// In order, and without what lies before the name that the list begins after.
    fn sorted(
        &mut self,
        path: &Path,
        mut entries: Vec<Entry>,
    ) -> Result<std::vec::IntoIter<Entry>, Halt> {
        self.writer.working()?;
        entries.sort_unstable();
        let Some(after) = self.after else { return Ok(entries.into_iter()) };
        let mut prefix = [self.folder.prefix.as_bytes(), path.as_os_str().as_bytes()].concat();
        if !path.as_os_str().is_empty() {
            prefix.push(b'/');
        }
        let is_behind = |entry: &Entry| {
            let mut last = [prefix.as_slice(), entry].concat();
            // The names below a folder end before its name with the byte that follows the slash.
            if last.last() == Some(&b'/') {
                last.pop();
                last.push(b'0');
            }
            last.as_slice() > after.as_str().as_bytes()
        };
        entries.retain(is_behind);
        Ok(entries.into_iter())
    }

    /// Looks at one file of the current folder.
    fn look_at(&mut self, entry: &Entry) -> Result<(), Halt> {
        let Some(level) = self.stack.last() else { return Ok(()) };
        let path = level.path.join(std::ffi::OsStr::from_bytes(entry));
        if level.handle.is_none() {
            match self.open(&level.path) {
                Ok(handle) => self.keep_open(handle),
                Err(error) => return self.lose(&error),
            }
        }
        let Some(Level { handle: Some(handle), .. }) = self.stack.last() else { return Ok(()) };
        let stat = rustix::fs::statat(handle, entry.as_ref(), AtFlags::SYMLINK_NOFOLLOW);
        match stat {
            Ok(stat) => match self.folder.name_of(&path) {
                Some(name) => self.found(name, &stat),
                None => self.unnameable(&path),
            },
            Err(error) => self.not_looked_at(&path, &error.into()),
        }
    }

    fn keep_open(&mut self, handle: File) {
        if let Some(level) = self.stack.last_mut() {
            level.handle = Some(handle);
        }
    }

    /// The current folder, of which we saw a part, cannot be opened again: the rest of it is unknown.
    fn lose(&mut self, error: &io::Error) -> Result<(), Halt> {
        let Some(level) = self.stack.pop() else { return Ok(()) };
        if level.path.as_os_str().is_empty() {
            return Err(Halt::Broken(self.folder.away(error)));
        }
        self.not_looked_at(&level.path, error)
    }

    fn found(&mut self, name: ImageName, stat: &Stat) -> Result<(), Halt> {
        let is_behind = self.after.is_none_or(|after| name > *after);
        if is_behind && FileType::from_raw_mode(stat.st_mode).is_file() {
            self.left = self.left.saturating_sub(1);
            self.writer.push(Listed::Image(name, fingerprint(stat)))?;
        }
        Ok(())
    }

    /// What vanished while we walked, or is a link, is simply not there. Trouble with the disk may be trouble with all of it.
    fn not_looked_at(&mut self, path: &Path, error: &io::Error) -> Result<(), Halt> {
        let code = error.raw_os_error();
        let is = |errno: Errno| code == Some(errno.raw_os_error());
        if is(Errno::NOENT) || is(Errno::NOTDIR) || is(Errno::LOOP) || is(Errno::XDEV) {
            return Ok(());
        }
        if error.kind() == io::ErrorKind::Interrupted {
            return Err(Halt::Stopped);
        }
        if is_trouble(error) {
            let root_answers =
                Dir::read_from(&self.root).and_then(|mut root| root.next().transpose());
            if let Err(error) = root_answers {
                return Err(Halt::Broken(self.folder.away(&error.into())));
            }
        }
        match self.folder.name_of(path) {
            Some(part) => {
                let reason = format!("{}: {error}", self.folder.root.join(path).display());
                Ok(self.writer.push(Listed::Unreadable { part, reason })?)
            }
            None => self.unnameable(path),
        }
    }

    fn unnameable(&mut self, path: &Path) -> Result<(), Halt> {
        let reason =
            if path.to_str().is_none() { "is not a UTF-8 name" } else { "is too long a name" };
        let shown = printable(&path.display().to_string()).to_string();
        let reason = format!("it {reason}; rename it");
        Ok(self.writer.push(Listed::Unnameable { shown, reason })?)
    }
}

/// For file systems that do not tell with the name.
fn kind_of(folder: &File, name: &[u8]) -> FileType {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}
