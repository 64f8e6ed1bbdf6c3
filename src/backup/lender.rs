//! A running server has its vectors to itself. It lends them to a backup through a socket in its data folder, which only
//! the user who runs it (or root) can use: nothing of this is open to the network. One JSON text a line, each way.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::vectors::{Held, POINTS_PER_BATCH, PointSource, StoreSource};
use crate::data_dir::BACKUP_SOCKET;
use crate::private_socket::{PrivateSocket, write_line};
use crate::vector_store::{Payload, Point, StoreError, VectorStore};

/// A request names at most [`POINTS_PER_BATCH`] ids.
const REQUEST_BYTES_MAX: u64 = 64 * POINTS_PER_BATCH as u64 + 4096;
/// An answer is made by us; a limit all the same, for whatever else may listen there.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Held,
    Points { collection: String, dim: usize, ids: Vec<Uuid> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Held(Held),
    Points(Vec<LentPoint>),
    Failed(String),
}

/// A point with its vector as bytes: as decimal numbers it would be three times as long.
#[derive(Debug, Serialize, Deserialize)]
struct LentPoint {
    id: Uuid,
    payload: Payload,
    vector: String,
}

impl From<Point> for LentPoint {
    fn from(point: Point) -> Self {
        let bytes: Vec<u8> = point.vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { id: point.id, payload: point.payload, vector: STANDARD_NO_PAD.encode(bytes) }
    }
}

impl LentPoint {
    fn into_point(self) -> Result<Point, StoreError> {
        let bytes = STANDARD_NO_PAD
            .decode(&self.vector)
            .map_err(|error| StoreError::Internal(format!("a vector was garbled: {error}")))?;
        let (values, _) = bytes.as_chunks::<4>();
        let vector = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        Ok(Point { id: self.id, vector, payload: self.payload })
    }
}

/// The server's side.
pub struct Lender {
    socket: PrivateSocket,
    store: Arc<dyn VectorStore>,
}

impl Lender {
    /// Opens the socket. The caller has the data folder's lock.
    pub fn open(data_dir: &Path, store: Arc<dyn VectorStore>) -> io::Result<Self> {
        Ok(Self { socket: PrivateSocket::open(data_dir.join(BACKUP_SOCKET))?, store })
    }

    /// Answers one backup after the other, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(stream) = stop.run_until_cancelled(self.socket.accept()).await {
            tracing::info!("lending the vectors to a backup");
            let lent = stop.run_until_cancelled(lend(stream, &self.store)).await;
            if let Some(Err(error)) = lent {
                tracing::warn!(%error, "the backup went away");
            }
        }
    }
}

async fn lend(stream: UnixStream, store: &Arc<dyn VectorStore>) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let source = StoreSource::new(store.clone());
    while let Some(question) = read_line(&mut from, REQUEST_BYTES_MAX).await? {
        let answered = match question {
            Question::Held => source.held().await.map(Answer::Held),
            Question::Points { collection, dim, ids } => source
                .points(&collection, dim, &ids)
                .await
                .map(|points| Answer::Points(points.into_iter().map(LentPoint::from).collect())),
        };
        let answer = answered.unwrap_or_else(|error| Answer::Failed(error.to_string()));
        write_line(&mut to, &answer).await?;
    }
    Ok(())
}

async fn read_line<T: for<'de> Deserialize<'de>>(
    from: &mut (impl AsyncBufRead + Unpin),
    bytes_max: u64,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(bytes_max).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is cut off or too long"));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// The vectors of a running server.
pub struct Borrowed {
    line: Mutex<(BufReader<OwnedReadHalf>, OwnedWriteHalf)>,
}

impl Borrowed {
    /// Asks the server that works with this data folder.
    pub async fn from(data_dir: &Path) -> io::Result<Self> {
        let (from, to) = UnixStream::connect(data_dir.join(BACKUP_SOCKET)).await?.into_split();
        Ok(Self { line: Mutex::new((BufReader::new(from), to)) })
    }

    async fn ask(&self, question: &Question) -> Result<Answer, StoreError> {
        let mut line = self.line.lock().await;
        let (from, to) = &mut *line;
        let asked = async {
            write_line(to, question).await?;
            read_line(from, ANSWER_BYTES_MAX).await
        };
        let gone = |reason: String| {
            StoreError::Unavailable(format!("the server that has it went away: {reason}"))
        };
        match asked.await {
            Ok(Some(Answer::Failed(reason))) => Err(StoreError::Internal(reason)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(gone("it closed the line".to_owned())),
            Err(error) => Err(gone(error.to_string())),
        }
    }
}

#[async_trait]
impl PointSource for Borrowed {
    async fn held(&self) -> Result<Held, StoreError> {
        match self.ask(&Question::Held).await? {
            Answer::Held(held) => Ok(held),
            _ => Err(StoreError::Internal("the server answered something else".to_owned())),
        }
    }

    async fn points(
        &self,
        collection: &str,
        dim: usize,
        ids: &[Uuid],
    ) -> Result<Vec<Point>, StoreError> {
        let collection = collection.to_owned();
        match self.ask(&Question::Points { collection, dim, ids: ids.to_vec() }).await? {
            Answer::Points(points) => points.into_iter().map(LentPoint::into_point).collect(),
            _ => Err(StoreError::Internal("the server answered something else".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::config::built_in;
    use crate::vector_store::CollectionSpec;
    use crate::vector_store::conformance::{assert_same, point};
    use crate::vector_store::embedded::{EmbeddedOptions, EmbeddedStore};

    const DIM: usize = 16;

    fn store(dir: &Path) -> Arc<dyn VectorStore> {
        let options = EmbeddedOptions { disk_reserve_mib: 0, ..built_in().vector_store.embedded };
        Arc::new(EmbeddedStore::open(&dir.join("vectors"), options).expect("opened"))
    }

    #[tokio::test]
    async fn what_is_borrowed_is_what_is_there_and_nothing_is_made() {
        let dir = tempfile::tempdir().expect("temp");
        let store = store(dir.path());
        let spec = CollectionSpec::of_pictures("c".to_owned(), DIM);
        let collection = store.open(&spec).await.expect("made");
        let points: Vec<Point> = (0..50).map(|number| point(number, DIM)).collect();
        collection.upsert(points.clone()).await.expect("stored");
        store.activate("c").await.expect("active");
        let stop = CancellationToken::new();
        let lending = Lender::open(dir.path(), store.clone()).expect("a socket");
        let lending = tokio::spawn(lending.run(stop.clone()));

        let borrowed = Borrowed::from(dir.path()).await.expect("connected");
        let held = borrowed.held().await.expect("asked");
        let wanted =
            Held { collections: vec![("c".to_owned(), DIM)], active: Some("c".to_owned()) };
        assert_eq!(held, wanted);
        let mut ids: Vec<Uuid> = points.iter().map(|point| point.id).collect();
        ids.push(Uuid::from_u128(u128::MAX - 7));
        let mut lent = borrowed.points("c", DIM, &ids).await.expect("asked");
        lent.sort_by_key(|point| point.id);
        assert_eq!(lent.len(), points.len(), "what is not there is not lent");
        let mut there = collection.get(&ids).await.expect("asked");
        there.sort_by_key(|point| point.id);
        lent.iter().zip(&there).for_each(|(lent, there)| assert_same(lent, there));
        for (name, dim) in [("other", DIM), ("c", DIM + 1)] {
            let refused = borrowed.points(name, dim, &ids).await.expect_err("there is none");
            assert!(refused.to_string().contains("has no collection"), "{refused}");
        }
        assert_eq!(store.list().await.expect("listed"), ["c"]);

        stop.cancel();
        lending.await.expect("it ends");
        assert!(!dir.path().join(BACKUP_SOCKET).exists());
    }

    #[tokio::test]
    async fn who_talks_nonsense_is_left_and_the_next_is_served() {
        let dir = tempfile::tempdir().expect("temp");
        let store = store(dir.path());
        let stop = CancellationToken::new();
        let lending = Lender::open(dir.path(), store).expect("a socket");
        let lending = tokio::spawn(lending.run(stop.clone()));
        for nonsense in [b"{]\n".to_vec(), vec![b'x'; 1 << 20]] {
            let mut stream =
                UnixStream::connect(dir.path().join(BACKUP_SOCKET)).await.expect("connected");
            // It may hang up before all of it is written.
            let _ = stream.write_all(&nonsense).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty());
        }
        let borrowed = Borrowed::from(dir.path()).await.expect("connected");
        assert_eq!(borrowed.held().await.expect("asked"), Held::default());
        drop(borrowed);
        stop.cancel();
        lending.await.expect("it ends");
    }
}
