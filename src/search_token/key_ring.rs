//! The keys that tokens are signed with: one that signs, and those that signed before it, which still verify what is out.
//! They are files, so that several servers may share them; a change is noticed while running. The signing key is
//! `jwt.key`, a retired one `jwt.key.retired-<seconds since 1970>`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::{DecodingKey, EncodingKey};
use parking_lot::Mutex;

use super::TokenError;
use crate::types::hex;

const KEY_BYTES: usize = 32;
const RETIRED: &str = ".retired-";
/// How often it is looked whether the file changed. A token with an unknown key has it looked at at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One key.
pub(super) struct Key {
    /// Tells keys apart without telling anything of the key.
    pub(super) id: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
}

impl Key {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            id: hex(&blake3::derive_key("image-search 2026 token key id", bytes)[..6]),
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
        }
    }
}

/// The keys at one moment.
pub(super) struct Keys {
    pub(super) signing: Key,
    retired: Vec<Key>,
}

impl Keys {
    /// The key that a token names. One without a name is of the key that signs.
    pub(super) fn named(&self, id: Option<&str>) -> Option<&Key> {
        let Some(id) = id else { return Some(&self.signing) };
        std::iter::once(&self.signing).chain(&self.retired).find(|key| key.id == id)
    }
}

/// The keys as they are now.
pub(super) struct KeyRing {
    /// Without one, the keys never change.
    path: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    keys: Arc<Keys>,
    stamp: Option<Stamp>,
    looked: Instant,
}

/// Tells one version of the file from another.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl KeyRing {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::new(None, Keys { signing: Key::new(bytes), retired: Vec::new() }, None)
    }

    /// From the file, which is made if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, TokenError> {
        let failed = |error: io::Error| key_error(path, error.to_string());
        match write_private(path, &fresh().map_err(failed)?).and_then(|()| sync_folder(path)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // It may be there nevertheless, in a folder that may not be written to.
            Err(_) if path.exists() => {}
            Err(error) => return Err(failed(error)),
        }
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "other users can read the signing key; run chmod 600 on it");
        }
        let stamp = stamp(path).map_err(failed)?;
        Ok(Self::new(Some(path.to_owned()), read(path)?, Some(stamp)))
    }

    fn new(path: Option<PathBuf>, keys: Keys, stamp: Option<Stamp>) -> Self {
        let state = State { keys: Arc::new(keys), stamp, looked: Instant::now() };
        Self { path, state: Mutex::new(state) }
    }

    /// The keys, at most [`LOOK_INTERVAL`] old.
    pub(super) fn keys(&self) -> Arc<Keys> {
        let is_old = self.state.lock().looked.elapsed() >= LOOK_INTERVAL;
        if is_old { self.look() } else { self.state.lock().keys.clone() }
    }

    /// The keys, read again if the file changed. What cannot be read leaves the ones before.
    pub(super) fn look(&self) -> Arc<Keys> {
        let mut state = self.state.lock();
        let Some(path) = &self.path else { return state.keys.clone() };
        state.looked = Instant::now();
        match stamp(path) {
            Ok(now) if state.stamp != Some(now) => match read(path) {
                Ok(keys) => {
                    tracing::info!(target: "audit", action = "signing_key_changed", kid = keys.signing.id, "tokens are signed with another key now");
                    (state.keys, state.stamp) = (Arc::new(keys), Some(now));
                }
                Err(error) => tracing::warn!(%error, "the signing key changed and cannot be used"),
            },
            Ok(_) | Err(_) => {}
        }
        state.keys.clone()
    }

    /// Fails if the file is gone or cannot be used any more: what is signed now could not be verified after a restart.
    pub(super) fn check(&self) -> Result<(), TokenError> {
        let Some(path) = &self.path else { return Ok(()) };
        match stamp(path) {
            Ok(_) => read(path).map(drop),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(key_error(
                path,
                "it vanished while the server runs, so ratings of today's searches are refused after a restart; put it back from a backup"
                    .to_owned(),
            )),
            Err(error) => Err(key_error(path, error.to_string())),
        }
    }
}

fn key_error(path: &Path, reason: String) -> TokenError {
    TokenError::Key { path: path.display().to_string(), reason }
}

fn read(path: &Path) -> Result<Keys, TokenError> {
    let signing = read_key(path)?;
    let mut retired = Vec::new();
    for (file, _) in retired_files(path).map_err(|error| key_error(path, error.to_string()))? {
        match read_key(&file) {
            Ok(key) => retired.push(key),
            Err(error) => tracing::warn!(%error, "a retired signing key is left out"),
        }
    }
    Ok(Keys { signing, retired })
}

fn read_key(path: &Path) -> Result<Key, TokenError> {
    let bytes = std::fs::read(path).map_err(|error| key_error(path, error.to_string()))?;
    if bytes.len() < KEY_BYTES {
        let reason = format!(
            "it has {} bytes, at least {KEY_BYTES} are needed; delete it to have a new one made",
            bytes.len()
        );
        return Err(key_error(path, reason));
    }
    Ok(Key::new(&bytes))
}

/// Retired keys of this file, and when each was retired.
fn retired_files(path: &Path) -> io::Result<Vec<(PathBuf, i64)>> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let beginning = format!("{}{RETIRED}", path.file_name().unwrap_or_default().display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let seconds = name.to_str().and_then(|name| name.strip_prefix(&beginning)?.parse().ok());
        found.extend(seconds.map(|seconds| (entry.path(), seconds)));
    }
    Ok(found)
}

fn fresh() -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

/// A new key in a file of its own beside `path`.
fn write_new(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", uuid::Uuid::new_v4()));
    let partial = path.with_file_name(name);
    write_private(&partial, &fresh()?)?;
    Ok(partial)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Puts a new key in place of the one that signs. With `keep_s`, the old one goes on verifying, and those go that were retired
/// longer ago than that; without, all old ones go, and no token counts any more. Returns the new key's id.
pub(super) fn rotate(path: &Path, keep_s: Option<u64>, now_s: i64) -> Result<String, TokenError> {
    let failed = |error: io::Error| key_error(path, error.to_string());
    let old = std::fs::read(path).map_err(failed)?;
    for (file, retired_s) in retired_files(path).map_err(failed)? {
        let is_over = keep_s.is_none_or(|keep_s| retired_s.saturating_add_unsigned(keep_s) < now_s);
        if is_over {
            std::fs::remove_file(file).map_err(failed)?;
        }
    }
    if keep_s.is_some() {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{RETIRED}{now_s}"));
        // Before the other one takes its place: whoever reads in between finds one key twice, which does no harm.
        write_private(&path.with_file_name(name), &old).map_err(failed)?;
    }
    let partial = write_new(path).map_err(failed)?;
    std::fs::rename(partial, path).and_then(|()| sync_folder(path)).map_err(failed)?;
    Ok(read_key(path)?.id)
}
