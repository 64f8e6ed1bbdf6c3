//! Several processes of the program that share one catalog in PostgreSQL, one vector store and one source, each with a data folder
//! of its own, as on several machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use qdrant_double::{Double, State};
use test_postgres::{PASSWORD, Server as Postgres};

use crate::fault_proxy::FaultProxy;
use crate::harness::World;
use crate::qdrant::{ANY_PORT, KEY};

/// What all of them share.
pub(crate) struct Fleet {
    pub(crate) postgres: Postgres,
    pub(crate) database: String,
    /// In front of the vector store.
    pub(crate) proxy: FaultProxy,
    key: String,
    double: Option<Double>,
    dir: tempfile::TempDir,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("images")).expect("mkdir");
        let postgres = Postgres::start().expect("a PostgreSQL server");
        let database = postgres.database().expect("an empty database");
        let (address, key, double) = vector_store(dir.path()).await;
        let proxy = FaultProxy::start(address).await;
        Self { postgres, database, proxy, key, double, dir }
    }

    /// Ends what stands in for the vector store while its folder is still there.
    pub(crate) async fn close(mut self) {
        if let Some(double) = self.double.take() {
            drop(double.stop().await);
        }
    }

    /// The folder that all take pictures from, unless they take them from elsewhere.
    pub(crate) fn images(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Another machine, on which a process does this.
    pub(crate) fn machine(&self, role: &str, model: &Path) -> World {
        World::new()
            .model(&model.display().to_string())
            .source(&self.images().display().to_string())
            .set("ROLE", role)
            .set("CATALOG", &self.postgres.address(&self.database))
            .variable("PGPASSWORD", PASSWORD)
            .set("VECTOR_STORE", &self.proxy.url())
            .set("VECTOR_STORE__API_KEY", &self.key)
            .set("TOKEN__KEY_FILE", &self.path("jwt.key").display().to_string())
            .set("INGEST__TAKEOVER_MS", "3000")
            .set("INGEST__LEASE_MS", "15000")
            .set("CATALOG__POSTGRES__CONNECTIONS_MAX", "6")
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.database, sql).expect("run")
    }

    /// Who holds claims on work, by data folder.
    pub(crate) fn leaders(&self) -> Vec<String> {
        let told = self.sql("SELECT DISTINCT holder FROM leases WHERE token LIKE 'work/%'");
        told.lines().map(str::to_owned).collect()
    }
}

/// The server that `QDRANT_URL` names (its gRPC port), or one that stands in for it.
async fn vector_store(dir: &Path) -> (SocketAddr, String, Option<Double>) {
    if let Ok(url) = std::env::var("QDRANT_URL") {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let found = tokio::net::lookup_host(authority).await.expect("QDRANT_URL: host:port");
        let address = found.into_iter().next().expect("an address");
        return (address, std::env::var("QDRANT_API_KEY").unwrap_or_default(), None);
    }
    let state = State::new(&dir.join("store"), Some(KEY)).expect("a stand-in");
    let double = Double::start(ANY_PORT, state).await.expect("it listens");
    (double.address, KEY.to_owned(), Some(double))
}

/// Under which name a machine's process is known to others.
pub(crate) fn instance(machine: &World) -> String {
    std::fs::read_to_string(machine.path("data/instance")).expect("named").trim().to_owned()
}
