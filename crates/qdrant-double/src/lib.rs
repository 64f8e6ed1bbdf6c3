//! A stand-in for a Qdrant server in tests: a small gRPC server that speaks the part of Qdrant's protocol that our
//! store uses, with the messages of `qdrant-client`, over the engine that Qdrant itself is made of.
//!
//! It takes that engine from the embedded store of `image-search`, whose tests depend on this crate in turn. Cargo allows
//! that circle, because the program itself does not depend on us; but in unit tests the library exists twice, once under
//! test and once below this crate, and their types are different ones. So what tests see here are types of the standard
//! library only, and everything else travels through the protocol.
//!
//! What it answers, a real server answers (codes and texts are those of Qdrant 1.19's source). It does not do, and says
//! `UNIMPLEMENTED` to: every call but those in `services`, named and sparse vectors, distances other than cosine,
//! prefetches, conditions other than match-any, range and has-id, conditional writes, shard keys, JWTs. It accepts and
//! ignores: index, quantization and storage parameters, shard and replica numbers, read consistency and timeouts. It is
//! more orderly than a real server: equal scores come by ascending id. It has no replication, no rate limits and no optimiser.

mod messages;
mod services;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use image_search::config::Config;
use image_search::vector_store::embedded::{EmbeddedOptions, EmbeddedStore};
use image_search::vector_store::{Collection, CollectionSpec, Point, StoreError, VectorStore};
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use uuid::Uuid;

use self::messages::status;

/// Points read at a time when the whole collection is wanted.
const PAGE: usize = 10_000;

/// A running stand-in. Its data outlives [`Self::stop`] and is there again after [`Self::start`] on the same state.
pub struct Double {
    pub address: SocketAddr,
    state: State,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// What a server keeps on its disk.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    store: EmbeddedStore,
    collections: Mutex<BTreeMap<String, CollectionSpec>>,
    aliases: Mutex<BTreeMap<String, String>>,
    api_key: Option<String>,
    mode: std::sync::Mutex<Mode>,
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// As with a key that may only read: nothing is created, changed or deleted, no alias and no index either.
    ReadOnly,
    /// As with a disk that is full.
    DiskFull,
    /// As when it is being shut down: every call on points is cancelled.
    Cancelling,
}

/// All collections as they were at some time.
pub struct Snapshot(Vec<(CollectionSpec, Vec<Point>)>);

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl State {
    /// A server without collections, whose engine works below `dir`.
    pub fn new(dir: &Path, api_key: Option<&str>) -> io::Result<Self> {
        let defaults = Config::load(None, [], Vec::new()).map_err(failed)?.vector_store.embedded;
        let options = EmbeddedOptions { disk_reserve_mib: 0, ..defaults };
        Ok(Self(Arc::new(Inner {
            store: EmbeddedStore::open(dir, options).map_err(failed)?,
            collections: Mutex::default(),
            aliases: Mutex::default(),
            api_key: api_key.map(str::to_owned),
            mode: std::sync::Mutex::new(Mode::Normal),
        })))
    }

    pub fn set_mode(&self, mode: Mode) {
        *self.0.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    fn mode(&self) -> Mode {
        *self.0.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn collections(&self) -> Vec<String> {
        self.0.collections.lock().await.keys().cloned().collect()
    }

    /// Points of all collections, without the reserved one that says whose a collection is.
    pub async fn points(&self) -> io::Result<usize> {
        let Snapshot(collections) = self.snapshot().await?;
        let pictures =
            |points: &Vec<Point>| points.iter().filter(|point| point.id != Uuid::max()).count();
        Ok(collections.iter().map(|(_, points)| pictures(points)).sum())
    }

    /// Deletes every collection and alias, as a restart with an empty volume does.
    pub async fn lose_everything(&self) -> io::Result<()> {
        self.0.aliases.lock().await.clear();
        let lost = std::mem::take(&mut *self.0.collections.lock().await);
        for name in lost.keys() {
            self.0.store.drop_collection(name).await.map_err(failed)?;
        }
        Ok(())
    }

    /// What the collections hold now.
    pub async fn snapshot(&self) -> io::Result<Snapshot> {
        let specs: Vec<CollectionSpec> =
            self.0.collections.lock().await.values().cloned().collect();
        let mut taken = Vec::new();
        for spec in specs {
            let collection = self.0.store.open(&spec).await.map_err(failed)?;
            taken.push((spec, all_points(&*collection).await.map_err(failed)?));
        }
        Ok(Snapshot(taken))
    }

    /// Brings the collections of the snapshot back to what they held then; others stay as they are.
    pub async fn restore(&self, snapshot: &Snapshot) -> io::Result<()> {
        for (spec, points) in &snapshot.0 {
            let collection = self.0.store.open(spec).await.map_err(failed)?;
            let before = all_points(&*collection).await.map_err(failed)?;
            // In this order, the reserved point is there at any time, as it is on a server that restores at one stroke.
            collection.upsert(points.clone()).await.map_err(failed)?;
            let kept: HashSet<Uuid> = points.iter().map(|point| point.id).collect();
            let others = before.iter().map(|point| point.id).filter(|id| !kept.contains(id));
            collection.delete(&others.collect::<Vec<_>>()).await.map_err(failed)?;
            self.0.collections.lock().await.insert(spec.name.clone(), spec.clone());
        }
        Ok(())
    }
}

async fn all_points(collection: &dyn Collection) -> Result<Vec<Point>, StoreError> {
    let mut all: Vec<Point> = Vec::new();
    loop {
        let page = collection.scroll(all.last().map(|point| point.id), PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

impl Double {
    /// Listens on `address`; port 0 for any free one.
    pub async fn start(address: SocketAddr, state: State) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let key = state.clone();
        let check = move |request: Request<()>| key.check_key(request);
        let (points, collections) =
            (PointsServer::new(state.clone()), CollectionsServer::new(state.clone()));
        let points = points.max_decoding_message_size(usize::MAX);
        let server = Server::builder()
            // The server's health check needs no key, the rest does.
            .add_service(QdrantServer::new(state.clone()))
            .add_service(InterceptedService::new(points, check.clone()))
            .add_service(InterceptedService::new(collections, check))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), async move {
                let _ = stopped.await;
            });
        Ok(Self { address, state, stop, server: tokio::spawn(server) })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers what is under way, closes all connections, and returns the state to start with again.
    pub async fn stop(mut self) -> State {
        let _ = self.stop.send(());
        if tokio::time::timeout(Duration::from_secs(5), &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.state
    }
}

impl State {
    fn check_key(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
        match (&self.0.api_key, given) {
            (None, _) => Ok(request),
            (Some(key), Some(given)) if key == given => Ok(request),
            (Some(_), Some(_)) => Err(Status::unauthenticated("Invalid API key or JWT")),
            (Some(_), None) => Err(Status::unauthenticated(
                "Must provide an API key or an Authorization bearer token",
            )),
        }
    }

    /// Every call on points, of whatever kind.
    fn check_alive(&self) -> Result<(), Status> {
        if self.mode() == Mode::Cancelling {
            return Err(Status::internal(
                "Service internal error: Operation cancelled: task was cancelled by shutdown",
            ));
        }
        Ok(())
    }

    /// Every call that creates, changes or deletes something of a collection.
    fn check_write(&self, collection: &str) -> Result<(), Status> {
        self.check_alive()?;
        match self.mode() {
            Mode::ReadOnly => Err(Status::permission_denied(format!(
                "Forbidden: Write access to collection {collection} is required"
            ))),
            Mode::DiskFull => Err(Status::internal(
                "Service internal error: No space left on device: WAL buffer size exceeds available disk space",
            )),
            Mode::Normal | Mode::Cancelling => Ok(()),
        }
    }

    /// Every call that needs the right to manage: creating and deleting collections, aliases.
    fn check_manage(&self) -> Result<(), Status> {
        if self.mode() == Mode::ReadOnly {
            return Err(Status::permission_denied("Forbidden: Global manage access is required"));
        }
        Ok(())
    }

    /// By name or alias.
    async fn spec(&self, name: &str) -> Result<CollectionSpec, Status> {
        let target = self.0.aliases.lock().await.get(name).cloned();
        let name = target.as_deref().unwrap_or(name);
        let missing =
            || Status::not_found(format!("Not found: Collection `{name}` doesn't exist!"));
        self.0.collections.lock().await.get(name).cloned().ok_or_else(missing)
    }

    async fn collection(&self, name: &str) -> Result<Arc<dyn Collection>, Status> {
        self.0.store.open(&self.spec(name).await?).await.map_err(status)
    }
}
