//! The way from a command to the server that has the data folder open: a Unix socket in that folder, which only its owner can
//! open. One line of JSON asks for an errand; lines of JSON tell what is said, how far it is, and how it ended. Who hangs up gives
//! the errand up.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};

use super::errand::{Errand, Handles, Tell};
use super::errand_work::perform;
use crate::app::App;
use crate::data_dir::CONTROL_SOCKET;
use crate::private_socket::{PrivateSocket, write_line};

/// Longest errand, in its JSON.
const ERRAND_BYTES_MAX: u64 = 65_536;
const ERRAND_WAIT: Duration = Duration::from_secs(5);
/// What is told and not fetched yet.
const TOLD_WAITING_MAX: usize = 1024;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What a server tells of an errand.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Say(String),
    Progress {
        collection: String,
        done_of: Option<(u64, u64)>,
    },
    Failed(String),
    /// With this exit code.
    Done(u8),
}

fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.join(CONTROL_SOCKET)
}

/// Takes errands until the application stops. Without the socket (a path of more than about 100 bytes is too long for one)
/// commands say that the folder is in use.
pub(super) fn listen(app: Arc<App>) {
    let path = socket_of(app.data_dir.path());
    match PrivateSocket::open(path.clone()) {
        Ok(socket) => {
            tokio::spawn(take_errands(app, socket));
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "commands that change the index have to wait until this server has ended");
        }
    }
}

async fn take_errands(app: Arc<App>, socket: PrivateSocket) {
    let stop = app.stop.clone();
    let turn = Arc::new(Mutex::new(()));
    while let Some(stream) = stop.run_until_cancelled(socket.accept()).await {
        let (app, turn, stop) = (app.clone(), turn.clone(), stop.clone());
        tokio::spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled(attend(&app, stream, &turn)).await {
                tracing::debug!(%error, "a command could not be heard to its end");
            }
        });
    }
}

/// Does what one command asks for, until it hangs up.
async fn attend(app: &App, stream: UnixStream, turn: &Mutex<()>) -> anyhow::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    let mut beginning = (&mut reader).take(ERRAND_BYTES_MAX);
    tokio::time::timeout(ERRAND_WAIT, beginning.read_line(&mut line)).await??;
    let (told, heard) = mpsc::channel(TOLD_WAITING_MAX);
    let work = async move {
        let outcome = match serde_json::from_str::<Errand>(&line) {
            Ok(errand) => {
                tracing::info!(target: "audit", action = "errand", ?errand, "a command asks for it");
                let mut listener = Remote { told: told.clone(), next_progress: Instant::now() };
                let _turn = turn.lock().await;
                Box::pin(perform(&errand, &Handles::of(app), &mut listener)).await
            }
            Err(error) => Err(anyhow::anyhow!(
                "the server does not understand this command ({error}); is it of another version?"
            )),
        };
        let end = outcome.map_or_else(|error| Told::Failed(format!("{error:#}")), Told::Done);
        // Who hung up does not hear it.
        let _ = told.send(end).await;
    };
    tokio::select! {
        (sent, ()) = async { tokio::join!(forward(heard, writer), work) } => sent,
        () = hangs_up(reader) => bail!("it hung up"),
    }
}

async fn forward(
    mut heard: mpsc::Receiver<Told>,
    mut writer: OwnedWriteHalf,
) -> anyhow::Result<()> {
    while let Some(told) = heard.recv().await {
        write_line(&mut writer, &told).await?;
    }
    Ok(())
}

/// Nothing more is expected; the end is.
async fn hangs_up(mut reader: BufReader<OwnedReadHalf>) {
    let mut byte = [0; 1];
    while matches!(reader.read(&mut byte).await, Ok(1..)) {}
}

/// Tells through the socket.
struct Remote {
    told: mpsc::Sender<Told>,
    next_progress: Instant,
}

impl Tell for Remote {
    fn say(&mut self, line: &str) {
        // Whoever lets a thousand lines wait reads none of them.
        let _ = self.told.try_send(Told::Say(line.to_owned()));
    }

    fn progress(&mut self, collection: &str, done_of: Option<(u64, u64)>) {
        if done_of.is_some() && Instant::now() < self.next_progress {
            return;
        }
        self.next_progress = Instant::now() + PROGRESS_INTERVAL;
        let collection = collection.to_owned();
        let _ = self.told.try_send(Told::Progress { collection, done_of });
    }
}

/// A server that takes errands.
pub(super) struct Server {
    stream: UnixStream,
}

/// The server that has the data folder open, if one does.
pub(super) async fn connect(data_dir: &Path) -> anyhow::Result<Option<Server>> {
    let path = socket_of(data_dir);
    match UnixStream::connect(&path).await {
        Ok(stream) => Ok(Some(Server { stream })),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(error).with_context(|| {
                format!(
                    "{} belongs to the server of another user; run this as that one",
                    path.display()
                )
            })
        }
        // None, one that a crash left, or a path too long for a socket.
        Err(_) => Ok(None),
    }
}

impl Server {
    /// Returns the exit code.
    pub(super) async fn ask(self, errand: &Errand, tell: &mut dyn Tell) -> anyhow::Result<u8> {
        let (reader, mut writer) = self.stream.into_split();
        write_line(&mut writer, errand).await?;
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            match serde_json::from_str::<Told>(&line).context("the server is of another version")? {
                Told::Say(line) => tell.say(&line),
                Told::Progress { collection, done_of } => tell.progress(&collection, done_of),
                Told::Failed(reason) => bail!(reason),
                Told::Done(code) => return Ok(code),
            }
        }
        bail!("the server ended before it was done; run this again")
    }
}
