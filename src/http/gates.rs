//! Which scope each route asks for, in one table. A route that is missing here asks for `admin`, and a test finds it.

use axum::http::Method;

use crate::catalog::KeyScope;

/// What stands before a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing, not even a limit: the page's own files, and what says whether the server is alive.
    Open,
    /// Only the limits of an address: who asks here has no key yet.
    Limited,
    /// A key with this scope, as soon as there are keys. `Upload` always asks for one.
    Key(KeyScope),
}

use Gate::{Key, Limited, Open};
use KeyScope::{Admin, Feedback, Search, Upload};

/// Methods and paths, as the router knows them.
const GATES: &[(Method, &str, Gate)] = &[
    (Method::POST, "/api/v1/search-image", Key(Search)),
    (Method::POST, "/api/v1/create-feedback", Key(Feedback)),
    (Method::POST, "/api/v1/delete-feedback", Key(Admin)),
    (Method::GET, "/api/v1/images", Key(Search)),
    (Method::POST, "/api/v1/images", Key(Upload)),
    (Method::GET, "/api/v1/images/{*image_name}", Key(Search)),
    (Method::DELETE, "/api/v1/images/{*image_name}", Key(Upload)),
    (Method::GET, "/api/v1/image-info", Key(Search)),
    (Method::GET, "/api/v1/other-names", Key(Search)),
    (Method::GET, "/api/v1/suggestions", Key(Search)),
    (Method::POST, "/api/v1/facets", Key(Search)),
    (Method::GET, "/api/v1/status", Key(Search)),
    (Method::GET, "/api/v1/events", Key(Search)),
    (Method::GET, "/api/v1/failures", Key(Search)),
    (Method::POST, "/api/v1/failures/retry", Key(Admin)),
    (Method::GET, "/api/v1/quality", Key(Admin)),
    (Method::POST, "/api/v1/model/download", Key(Admin)),
    (Method::POST, "/api/v1/hints", Key(Admin)),
    (Method::POST, "/api/v1/download-zip", Key(Search)),
    (Method::POST, "/api/v1/show-in-folder", Key(Search)),
    (Method::GET, "/api/v1/session", Limited),
    (Method::POST, "/api/v1/session", Limited),
    (Method::DELETE, "/api/v1/session", Limited),
    (Method::GET, "/metrics", Key(Admin)),
    (Method::GET, "/healthz", Open),
    (Method::GET, "/readyz", Open),
    (Method::GET, "/", Open),
    (Method::GET, "/quality", Open),
    (Method::GET, "/assets/{*path}", Open),
    (Method::GET, "/favicon.svg", Open),
    (Method::GET, "/sw.js", Open),
    (Method::GET, "/openapi.json", Open),
    (Method::GET, "/docs", Open),
    (Method::GET, "/docs/", Open),
    (Method::GET, "/docs/{*path}", Open),
];

/// What stands before the route that a request matched, if it matched one.
pub(super) fn gate(method: &Method, path: Option<&str>) -> Gate {
    // Nothing is at such an address, which is no secret.
    let Some(path) = path else { return Limited };
    listed(method, path).unwrap_or(Key(Admin))
}

/// Whatever may be got may be asked for with HEAD. Other methods only get 405, after the gate of what is there.
fn listed(method: &Method, path: &str) -> Option<Gate> {
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let of_path = || GATES.iter().filter(|(_, listed, _)| *listed == path);
    let same = of_path().find(|(listed, ..)| listed == wanted);
    same.or_else(|| of_path().next()).map(|(.., gate)| *gate)
}

/// The scope that an operation of the API document asks for.
pub(super) fn documented(method: &Method, path: &str) -> Option<KeyScope> {
    let same =
        |listed: &&(Method, &str, Gate)| listed.0 == *method && listed.1.replace("{*", "{") == path;
    match GATES.iter().find(same) {
        Some((.., Key(scope))) => Some(*scope),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::PathItem;

    use super::*;
    use crate::test_app::TestApp;

    fn methods(item: &PathItem) -> Vec<Method> {
        let operations = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        operations.into_iter().filter(|(_, found)| found.is_some()).map(|(it, _)| it).collect()
    }

    #[tokio::test]
    async fn every_route_has_its_gate_and_every_gate_a_route() {
        let test = TestApp::without_model(|_| {}).await;
        let (_, document) = super::super::api(&test.app).split_for_parts();
        let routes: Vec<(Method, &str)> = document
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| {
                methods(item).into_iter().map(|method| (method, path.as_str()))
            })
            .collect();
        assert!(routes.len() > 12, "only {} routes were seen", routes.len());
        let has_gate = |route: &&(Method, &str)| {
            GATES.iter().any(|(method, path, _)| (method, *path) == (&route.0, route.1))
        };
        let forgotten: Vec<_> = routes.iter().filter(|route| !has_gate(route)).collect();
        assert!(forgotten.is_empty(), "no gate for {forgotten:?}");
        // The page's files are not part of the API, and open.
        let of_api = GATES.iter().filter(|(.., gate)| *gate != Open);
        let stale: Vec<_> =
            of_api.filter(|gate| !routes.contains(&(gate.0.clone(), gate.1))).collect();
        assert!(stale.is_empty(), "no route for {stale:?}");
        test.finish().await;
    }

    #[test]
    fn what_is_forgotten_is_closed() {
        assert_eq!(gate(&Method::GET, Some("/api/v1/of-tomorrow")), Key(Admin));
        assert_eq!(gate(&Method::HEAD, Some("/api/v1/status")), Key(Search));
        assert_eq!(gate(&Method::PUT, Some("/metrics")), Key(Admin));
        assert_eq!(gate(&Method::GET, None), Limited);
    }
}
