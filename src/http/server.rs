//! Accepts connections: at most so many at once and of one client, with limits on how long a client may take to send its
//! headers and to read its answer, and a shutdown that lets answers in flight finish within a hard deadline.

use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::client_address::Peer;
use super::connections::{Clients, Places, WriteDeadline};
use crate::config::ServerConfig;

const HEADER_TIMEOUT_MS: u64 = 15_000;
/// As long as an idle connection is kept, so that one ends meanwhile if any are idle.
const PLACE_TIMEOUT_MS: u64 = 15_000;
const ACCEPT_RETRY_MS: u64 = 50;

/// Serves until `stop`, then until the last answer or the deadline. Returns whether all answers were finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &ServerConfig,
    connections: Gauge,
    stop: CancellationToken,
) -> bool {
    let clients = Clients::new(
        config.connections_per_address_max,
        config.trusted_proxies.clone(),
        connections,
    );
    let write_timeout = Duration::from_millis(config.write_timeout_ms);
    let places = Places::new(config.connections_max);
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, address) = match stop.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Ok((stream, address))) => (stream, address.ip()),
            Some(Err(_)) => {
                // Out of file descriptors, or the client is gone already.
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        let Some(place_of_client) = clients.admit(address, places.free()) else {
            tracing::debug!(%address, "a client has as many connections as it may have (server.connections_per_address_max, server.connections_max)");
            continue;
        };
        let Some(place) = places.take(address) else {
            tracing::debug!(%address, "all connections are taken (server.connections_max)");
            continue;
        };
        // Small answers must not wait for more bytes to come.
        let _ = stream.set_nodelay(true);
        let service = FromPeer {
            router: TowerToHyperService::new(router.clone()),
            peer: Peer(address.to_canonical()),
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(HEADER_TIMEOUT_MS))
            .serve_connection(TokioIo::new(WriteDeadline::new(stream, write_timeout)), service);
        let connection = graceful.watch(connection);
        let stop = stop.clone();
        tokio::spawn(async move {
            let _place_of_client = place_of_client;
            let waiting = place.wait(Duration::from_millis(PLACE_TIMEOUT_MS));
            let Some(Some(_place)) = stop.run_until_cancelled(waiting).await else { return };
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tokio::time::timeout(Duration::from_millis(config.shutdown_timeout_ms), graceful.shutdown())
        .await
        .is_ok()
}

type ToRouter = TowerToHyperService<Router>;

/// Notes with each request where it came from.
struct FromPeer {
    router: ToRouter,
    peer: Peer,
}

impl Service<Request<Incoming>> for FromPeer {
    type Response = <ToRouter as Service<Request<Incoming>>>::Response;
    type Error = <ToRouter as Service<Request<Incoming>>>::Error;
    type Future = <ToRouter as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}
