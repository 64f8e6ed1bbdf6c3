//! `POST /api/v1/show-in-folder`: opens the file manager of the desktop that the server runs on, for whoever sits at it. So only
//! requests from this very machine are taken, and none that a proxy passes on.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::SharedApp;
use super::client_address::Peer;
use super::error::{Problem, ProblemCode};
use super::images::{find, no_image};
use super::other_pages::is_loopback_name;
use super::request::ApiJson;
use crate::file_manager::FileManager;
use crate::types::ImageName;

/// What proxies add to the requests that they pass on.
const PASSED_ON: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// The desktop that the server runs on, if there is one and it may be used.
pub(super) struct Desktop(Option<FileManager>);

impl Desktop {
    pub(super) fn new(app: &SharedApp) -> Self {
        let is_wanted =
            app.config.server.show_in_folder && app.sources.iter().any(|source| source.is_folder());
        let found = || FileManager::find(|name| std::env::var_os(name));
        Self(is_wanted.then(found).flatten())
    }

    /// Whether a picture would be shown to whoever asks.
    pub(super) fn is_offered(&self, parts: &Parts) -> bool {
        self.0.is_some() && comes_from_this_machine(parts)
    }
}

/// A browser on this machine calls the server by a name of this machine; whoever comes through a proxy or a tunnel that adds no
/// header usually does not.
fn comes_from_this_machine(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<Peer>();
    let is_near = peer.is_some_and(|peer| peer.0.to_canonical().is_loopback());
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
    is_near
        && host.is_some_and(is_loopback_name)
        && !PASSED_ON.iter().any(|name| parts.headers.contains_key(*name))
}

/// Which picture to show.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowRequest {
    /// Name of the image.
    image_name: String,
}

/// Show a picture in the file manager of this machine.
///
/// Only for who sits at the machine that the server runs on: the request must come from a loopback address to a loopback name,
/// and through no proxy. `show_in_folder` of `/api/v1/session` says whether it would be done.
#[utoipa::path(
    post, path = "/api/v1/show-in-folder", tag = "images", request_body = ShowRequest,
    responses(
        (status = 204, description = "The file manager shows it."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The body is no JSON, or did not arrive completely."),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The request does not come from this machine."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such image, it is in a bucket, or this server has no desktop or does not offer this (`server.show_in_folder`)."),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "The body is too large."),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "The body is not sent as JSON."),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This cannot be the name of an image.")
    )
)]
pub(super) async fn show_in_folder(
    State(app): State<SharedApp>,
    Extension(desktop): Extension<Arc<Desktop>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let Some(file_manager) = &desktop.0 else {
        return Err(Problem::new(
            ProblemCode::NoFileManager,
            "This server opens no file manager: it runs without a desktop (no DISPLAY or WAYLAND_DISPLAY, or none of dbus-send, gdbus, xdg-open), has no folder, or server.show_in_folder is off.",
        ));
    };
    if !comes_from_this_machine(&parts) {
        return Err(Problem::new(
            ProblemCode::NotOnThisMachine,
            "The file manager is only opened for who sits at the server's own machine, by http://localhost or http://127.0.0.1 and not through a proxy.",
        ));
    }
    let request = Request::from_parts(parts, body);
    let ApiJson(wanted) = ApiJson::<ShowRequest>::from_request(request, &app).await?;
    let row = find(&app, ImageName::new(wanted.image_name)?).await?.ok_or_else(no_image)?;
    let source = app.source(&row.source).ok_or_else(no_image)?;
    let Some(path) = source.path(&row.name).await? else {
        return Err(Problem::new(ProblemCode::NoFileManager, "The picture is in no folder."));
    };
    file_manager.show(&path).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(Peer(peer.parse().expect("an address")));
        parts
    }

    #[test]
    fn only_who_sits_here_comes_from_this_machine() {
        let local = ("host", "localhost:3000");
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(comes_from_this_machine(&parts(peer, &[local])), "{peer}");
        }
        assert!(comes_from_this_machine(&parts("127.0.0.1", &[("host", "[::1]:1")])));
        assert!(!comes_from_this_machine(&parts("192.168.1.7", &[local])));
        for host in ["photos.example", "192.168.1.7:3000", ""] {
            assert!(!comes_from_this_machine(&parts("127.0.0.1", &[("host", host)])), "{host}");
        }
        assert!(!comes_from_this_machine(&parts("127.0.0.1", &[])));
        for name in PASSED_ON {
            let through = parts("127.0.0.1", &[local, (name, "127.0.0.1")]);
            assert!(!comes_from_this_machine(&through), "{name}");
        }
    }
}
