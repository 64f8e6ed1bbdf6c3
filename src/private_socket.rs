//! A Unix socket in the data folder, through which commands of the same user reach the server that has the folder open. Under its
//! name it is never open to others.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

/// Until the next try to accept, when there are no file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Listens until dropped; its file goes with it.
pub struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl PrivateSocket {
    /// Takes the place of what a crash left there: the caller has the folder's lock.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let beside = path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, &path)?;
        Ok(Self { listener, path })
    }

    /// The next one of this user, or of root, who connects.
    pub async fn accept(&self) -> UnixStream {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let is_ours = stream.peer_cred().is_ok_and(|peer| {
                peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0
            });
            if is_ours {
                return stream;
            }
            tracing::warn!(socket = %self.path.display(), "another user connected, and was refused");
        }
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes one line of JSON.
pub async fn write_line(to: &mut OwnedWriteHalf, text: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(text)?;
    line.push(b'\n');
    to.write_all(&line).await
}
