//! What a process answers that only indexes: whether it lives, whether it is ready, and what it counts.

use std::net::IpAddr;
use std::sync::Arc;

use axum::{Router, middleware};
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Problem;
use super::other_pages::OwnHosts;
use super::{access, operations, other_pages};
use crate::app::App;

/// The routes of a worker, with the same gates before them as elsewhere.
pub fn worker_router(app: Arc<App>, bound: IpAddr) -> Router {
    let own_hosts = Arc::new(OwnHosts::new(&app.config.server, bound));
    let guard = Arc::new(access::Guard::new(&app));
    let (routes, _) = OpenApiRouter::new()
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
        .split_for_parts();
    routes
        .fallback(|| async {
            Problem::not_found(
                "This process only indexes (role = \"worker\"); it answers /healthz, /readyz and /metrics.",
            )
        })
        .layer(middleware::from_fn_with_state(guard, access::guard))
        .layer(middleware::from_fn_with_state(own_hosts, other_pages::refuse))
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(app)
}
