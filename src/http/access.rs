//! What every request passes before its handler: the limits of its address, its key, the key's scope, and the key's limits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OnceCell;

use super::SharedApp;
use super::client_address::{client_address, network};
use super::error::{Problem, ProblemCode};
use super::gates::{Gate, gate};
use super::rate_limits::RateLimits;
use crate::access::{Keys, OPERATOR};
use crate::catalog::{ApiKey, CatalogError, KeyScope};

pub(super) const API_KEY_HEADER: &str = "x-api-key";
pub(super) const SESSION_COOKIE: &str = "image_search_session";

const PSEUDONYM_DIGITS: usize = 16;

/// What all requests share.
pub(super) struct Guard {
    app: SharedApp,
    limits: RateLimits,
    /// Pseudonyms of one installation mean nothing to another.
    installation: OnceCell<String>,
}

/// Who asks, for handlers.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// Name of the key, if there was one.
    pub(super) key: Option<String>,
    /// Nothing is asked for, because there are no keys.
    pub(super) is_open: bool,
    pub(super) scopes: BTreeSet<KeyScope>,
    /// Who they are for learning: one for each key or address, which cannot be read out of it.
    pub(super) pseudonym: String,
}

impl Caller {
    pub(super) fn may(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// For the log.
    pub(super) fn name(&self) -> &str {
        self.key.as_deref().unwrap_or("nobody")
    }
}

/// What a request proves itself with.
enum Proof {
    None,
    Key(Arc<ApiKey>),
    Operator,
    /// A key that is none.
    Wrong,
}

impl Guard {
    pub(super) fn new(app: &SharedApp) -> Self {
        let limits = RateLimits::new(&app.config.access);
        Self { app: app.clone(), limits, installation: OnceCell::new() }
    }

    async fn admit(&self, request: &mut Request) -> Result<Gate, Response> {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let gate = gate(request.method(), path);
        if gate == Gate::Open {
            return Ok(gate);
        }
        let trusted = &self.app.config.server.trusted_proxies;
        let address = client_address(request.extensions(), request.headers(), trusted);
        self.limits.count_address(address).map_err(too_many)?;
        let keys =
            self.app.access.keys().await.map_err(|error| Problem::from(error).into_response())?;
        let proof = self.proof(&keys, request.headers());
        if let Gate::Key(scope) = gate {
            self.check(&keys, &proof, scope, address).await?;
        }
        if let Proof::Key(key) = &proof {
            self.limits.count_key(&key.id).map_err(too_many)?;
        }
        let mut caller = caller(&keys, proof, address);
        let pseudonym = self.pseudonym(&caller).await;
        caller.pseudonym = pseudonym.map_err(|error| Problem::from(error).into_response())?;
        request.extensions_mut().insert(caller);
        Ok(gate)
    }

    /// Whoever sits at this machine is one, by whatever way they come.
    async fn pseudonym(&self, caller: &Caller) -> Result<String, CatalogError> {
        let installation = self.installation.get_or_try_init(|| async {
            Ok::<_, CatalogError>(self.app.catalog.installation().await?.id.to_string())
        });
        let installation = installation.await?;
        let who = match &caller.key {
            Some(key) if key != OPERATOR => format!("key {key}"),
            None if !caller.address.is_loopback() => format!("address {}", network(caller.address)),
            _ => "local".to_owned(),
        };
        let text = format!("{installation}\0{who}");
        Ok(blake3::hash(text.as_bytes()).to_hex()[..PSEUDONYM_DIGITS].to_owned())
    }

    /// Whether this proof opens a gate.
    async fn check(
        &self,
        keys: &Keys,
        proof: &Proof,
        scope: KeyScope,
        address: IpAddr,
    ) -> Result<(), Response> {
        // Uploads that are switched off are refused as such.
        let asks_nothing = scope != KeyScope::Upload || !self.app.config.uploads.enabled;
        match proof {
            _ if keys.is_open() && asks_nothing => Ok(()),
            Proof::Operator => Ok(()),
            Proof::Key(key) if key.scopes.contains(&scope) => Ok(()),
            Proof::Key(key) => Err(scope_needed(key, scope)),
            Proof::None => Err(key_needed()),
            Proof::Wrong => Err(self.refuse_wrong_key(address).await),
        }
    }

    fn proof(&self, keys: &Keys, headers: &HeaderMap) -> Proof {
        let Some(given) = given(headers) else { return Proof::None };
        let of_session = || self.app.searcher.tokens().verify_session(given.text()).ok();
        let key = match given {
            Given::Key(text) => keys.find(text),
            Given::Cookie(_) => None,
        };
        match key {
            Some(key) => Proof::Key(key),
            None => match of_session() {
                Some(subject) if subject == OPERATOR => Proof::Operator,
                Some(subject) => keys.by_id(&subject).map_or(Proof::None, Proof::Key),
                // A session that ended is no attempt to guess a key.
                None if matches!(given, Given::Cookie(_)) => Proof::None,
                None => Proof::Wrong,
            },
        }
    }

    /// The answer to a wrong key, after a while.
    pub(super) async fn refuse_wrong_key(&self, address: IpAddr) -> Response {
        tracing::warn!(target: "audit", action = "wrong_key", %address, "a wrong API key was sent");
        match self.limits.slow_down(address).await {
            Ok(()) => {
                let detail = "This API key is not known here. It may have been removed; image-search key list shows those there are.";
                let problem = Problem::new(ProblemCode::ApiKeyNeeded, detail);
                challenged(problem, "Bearer realm=\"image-search\", error=\"invalid_token\"")
            }
            Err(wait) => too_many(wait),
        }
    }
}

fn caller(keys: &Keys, proof: Proof, address: IpAddr) -> Caller {
    let mut caller = Caller {
        address,
        key: None,
        is_open: keys.is_open(),
        scopes: BTreeSet::new(),
        pseudonym: String::new(),
    };
    if caller.is_open {
        caller.scopes = [KeyScope::Search, KeyScope::Feedback].into();
    }
    match proof {
        Proof::Key(key) => {
            caller.scopes.extend(&key.scopes);
            caller.key = Some(key.name.clone());
        }
        Proof::Operator => {
            caller.scopes.extend(KeyScope::ALL);
            caller.key = Some(OPERATOR.to_owned());
        }
        Proof::None | Proof::Wrong => {}
    }
    caller
}

/// What a request brings.
#[derive(Clone, Copy)]
enum Given<'a> {
    Key(&'a str),
    Cookie(&'a str),
}

impl<'a> Given<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Key(text) | Self::Cookie(text) => text,
        }
    }
}

/// A key in its own header counts more than one in `Authorization`, where a proxy may have put its own, and that more than a
/// session.
fn given(headers: &HeaderMap) -> Option<Given<'_>> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let bearer = || {
        let (scheme, key) = text("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    };
    let key = text(API_KEY_HEADER).or_else(bearer).filter(|key| !key.is_empty());
    key.map(Given::Key).or_else(|| session_cookie(headers).map(Given::Cookie))
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        values.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == SESSION_COOKIE).map(|(_, token)| token.trim())
}

fn key_needed() -> Response {
    let detail = "This server asks for an API key. Send it as Authorization: Bearer … or X-API-Key; its operator makes one with image-search key add.";
    challenged(Problem::new(ProblemCode::ApiKeyNeeded, detail), "Bearer realm=\"image-search\"")
}

fn scope_needed(key: &ApiKey, scope: KeyScope) -> Response {
    tracing::warn!(target: "audit", action = "scope_missing", key = key.name, scope = scope.as_str(), "a key was used for what it does not allow");
    let detail = format!(
        "This API key does not allow this: it needs the scope {scope}. The operator makes one that does with image-search key add --scopes."
    );
    let challenge =
        format!("Bearer realm=\"image-search\", error=\"insufficient_scope\", scope=\"{scope}\"");
    challenged(Problem::new(ProblemCode::ScopeNeeded, detail), &challenge)
}

fn challenged(problem: Problem, challenge: &str) -> Response {
    let mut response = problem.into_response();
    if let Ok(challenge) = challenge.parse() {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    let detail = format!("Too many requests; the next one is answered in {seconds} s.");
    let mut response = Problem::new(ProblemCode::TooManyRequests, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// Lets a request through, or answers it.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let gate = match guard.admit(&mut request).await {
        Ok(gate) => gate,
        Err(refusal) => return refusal,
    };
    let is_open = request.extensions().get::<Caller>().is_none_or(|caller| caller.is_open);
    request.extensions_mut().insert(guard);
    let mut response = next.run(request).await;
    if gate != Gate::Open && !is_open {
        keep_private(response.headers_mut());
    }
    response
}

/// What only some may see must not stay in a cache that many share.
fn keep_private(headers: &mut HeaderMap) {
    let caching = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let caching = caching.map(|caching| caching.replace("public", "private"));
    if let Some(caching) = caching.and_then(|caching| caching.parse::<HeaderValue>().ok()) {
        headers.insert(header::CACHE_CONTROL, caching);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
        let headers: HeaderMap = pairs.collect();
        given(&headers).map(|given| match given {
            Given::Key(text) => format!("key {text}"),
            Given::Cookie(text) => format!("cookie {text}"),
        })
    }

    #[test]
    fn a_key_is_looked_for_in_three_places() {
        assert_eq!(brought(&[]), None);
        assert_eq!(brought(&[("authorization", "bearer  a")]).as_deref(), Some("key a"));
        assert_eq!(brought(&[("authorization", "Basic a")]), None, "a proxy's own login");
        assert_eq!(brought(&[("authorization", "Bearer ")]), None);
        let both = [("authorization", "Bearer a"), ("x-api-key", "b")];
        assert_eq!(brought(&both).as_deref(), Some("key b"));
        let cookie = ("cookie", "x=1; image_search_session=t.t; y=2");
        assert_eq!(brought(&[cookie]).as_deref(), Some("cookie t.t"));
        assert_eq!(brought(&[cookie, ("x-api-key", "b")]).as_deref(), Some("key b"));
        assert_eq!(brought(&[("cookie", "not_image_search_session=1")]), None);
    }
}
