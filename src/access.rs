//! API keys: making them, and telling whose a key is. As long as there is none, everybody may search and rate. They are kept
//! in the catalog as their SHA-256: a key is 256 random bits, so a hash that is slow on purpose would protect nothing more.
//! A running server notices within a second what another process adds or removes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use crate::catalog::{ApiKey, Catalog, CatalogError, KeyScope};
use crate::config::Secret;

/// What keys begin with, so that scanners for leaked secrets can find them.
const LABEL: &str = "ims_";
const KEY_BYTES: usize = 32;
const BEGINNING_CHARS: usize = LABEL.len() + 4;
pub const NAME_CHARS_MAX: usize = 64;
/// How old what is known of the keys may be.
const FRESH: Duration = Duration::from_secs(1);
/// Id and name of the key that stands in the configuration.
const CONFIGURED: &str = "uploads.api_key";

/// Whom a session belongs to that a command of this machine signed itself: who can read the signing key may do everything.
pub const OPERATOR: &str = "operator";

/// Why a key cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    #[error("a key's name has 1 to {NAME_CHARS_MAX} letters, digits, spaces and signs")]
    Name,
    #[error("a key without a scope could do nothing")]
    NoScope,
    #[error("there is no randomness to make a key of: {0}")]
    Random(String),
}

/// Makes a key. Returns it as well: it is kept nowhere.
pub fn new_key(
    name: &str,
    scopes: BTreeSet<KeyScope>,
    now_ms: i64,
) -> Result<(ApiKey, String), NewKeyError> {
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars)
        || name.trim() != name
        || name.chars().any(char::is_control)
        || name == CONFIGURED
    {
        return Err(NewKeyError::Name);
    }
    if scopes.is_empty() {
        return Err(NewKeyError::NoScope);
    }
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| NewKeyError::Random(error.to_string()))?;
    let secret = format!("{LABEL}{}", BASE64.encode(bytes));
    let key = ApiKey {
        id: uuid::Uuid::new_v4().to_string(),
        name: name.to_owned(),
        hash: hash(&secret),
        beginning: secret.chars().take(BEGINNING_CHARS).collect(),
        scopes,
        created_ms: now_ms,
    };
    Ok((key, secret))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whose a key is, now.
pub struct Access {
    catalog: Arc<dyn Catalog>,
    /// The key in the configuration, which only allows what keys were once for.
    configured: Option<Arc<ApiKey>>,
    known: RwLock<Option<(Instant, Arc<Keys>)>>,
}

/// The keys at one moment.
#[derive(Default)]
pub struct Keys {
    by_id: HashMap<String, Arc<ApiKey>>,
    configured: Option<Arc<ApiKey>>,
}

impl Access {
    pub fn new(catalog: Arc<dyn Catalog>, configured: &Secret) -> Self {
        let configured = Some(configured.reveal()).filter(|secret| !secret.is_empty());
        let configured = configured.map(|secret| {
            Arc::new(ApiKey {
                id: CONFIGURED.to_owned(),
                name: CONFIGURED.to_owned(),
                hash: hash(secret),
                beginning: String::new(),
                scopes: [KeyScope::Upload, KeyScope::Admin].into(),
                created_ms: 0,
            })
        });
        Self { catalog, configured, known: RwLock::default() }
    }

    /// The keys, at most a second old. While the catalog does not answer, those that were known last count.
    pub async fn keys(&self) -> Result<Arc<Keys>, CatalogError> {
        let known = self.known.read().clone();
        if let Some((read, keys)) = &known
            && read.elapsed() < FRESH
        {
            return Ok(keys.clone());
        }
        match self.catalog.api_keys().await {
            Ok(list) => {
                let by_id = list.into_iter().map(|key| (key.id.clone(), Arc::new(key)));
                let keys = Keys { by_id: by_id.collect(), configured: self.configured.clone() };
                if let Some((_, before)) = &known {
                    tell_of_changes(before, &keys);
                }
                let keys = Arc::new(keys);
                *self.known.write() = Some((Instant::now(), keys.clone()));
                Ok(keys)
            }
            Err(error) => match known {
                Some((_, keys)) => {
                    tracing::warn!(%error, "the API keys cannot be read; those known last count");
                    *self.known.write() = Some((Instant::now(), keys.clone()));
                    Ok(keys)
                }
                None => Err(error),
            },
        }
    }
}

fn tell_of_changes(before: &Keys, after: &Keys) {
    for (id, key) in &after.by_id {
        if !before.by_id.contains_key(id) {
            let scopes = words(&key.scopes);
            tracing::info!(target: "audit", action = "key_added", key = key.name, scopes, "a key was added");
        }
    }
    for (id, key) in &before.by_id {
        if !after.by_id.contains_key(id) {
            tracing::info!(target: "audit", action = "key_removed", key = key.name, "a key was removed");
        }
    }
}

/// Scopes as words.
pub fn words(scopes: &BTreeSet<KeyScope>) -> String {
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(",")
}

impl Keys {
    /// Whether there is no key in the catalog, so that everybody may search and rate.
    pub fn is_open(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether a key stands in the configuration.
    pub fn has_configured(&self) -> bool {
        self.configured.is_some()
    }

    /// The key that this is. Every hash is compared, each in constant time.
    pub fn find(&self, secret: &str) -> Option<Arc<ApiKey>> {
        // Hashes of this crate compare in constant time, whatever made their bytes.
        let given = blake3::Hash::from(hash(secret));
        let all = self.by_id.values().chain(&self.configured);
        all.fold(None, |found, key| {
            if blake3::Hash::from(key.hash) == given { Some(key.clone()) } else { found }
        })
    }

    pub fn by_id(&self, id: &str) -> Option<Arc<ApiKey>> {
        let configured = self.configured.as_ref().filter(|key| key.id == id);
        self.by_id.get(id).or(configured).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes() -> BTreeSet<KeyScope> {
        [KeyScope::Search].into()
    }

    #[test]
    fn keys_are_long_random_and_not_kept() {
        let (key, secret) = new_key("page", scopes(), 1).expect("made");
        let (_, other) = new_key("page", scopes(), 1).expect("made");
        assert_ne!(secret, other);
        assert!(secret.starts_with(LABEL) && secret.len() == LABEL.len() + 43, "{secret}");
        assert_eq!(key.beginning.len(), 8);
        assert!(secret.starts_with(&key.beginning) && !format!("{key:?}").contains(&secret));
        for name in ["", " page", "a\nb", CONFIGURED, &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert!(matches!(new_key(name, scopes(), 1), Err(NewKeyError::Name)), "{name:?}");
        }
        assert!(matches!(new_key("a", BTreeSet::new(), 1), Err(NewKeyError::NoScope)));
    }

    #[test]
    fn a_key_is_found_by_all_of_it_and_nothing_else() {
        let (key, secret) = new_key("page", scopes(), 1).expect("made");
        let id = key.id.clone();
        let keys = Keys { by_id: [(id.clone(), Arc::new(key))].into(), configured: None };
        assert_eq!(keys.find(&secret).expect("found").name, "page");
        for wrong in ["", "ims_", &secret[..secret.len() - 1], &format!("{secret}x")] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
        assert!(keys.by_id(&id).is_some() && keys.by_id("").is_none() && !keys.is_open());
        assert!(Keys::default().is_open() && Keys::default().find("").is_none());
    }
}
