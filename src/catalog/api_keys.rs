//! Which API keys there are and what each may do. Only the hash of a key is kept, so who reads the catalog has no key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::CatalogError;

/// What a key may do. None of them includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyScope {
    /// Search, and look at pictures and at the status.
    Search,
    /// Rate.
    Feedback,
    /// Add and delete pictures.
    Upload,
    /// Try failed pictures again, read the metrics.
    Admin,
}

/// A word that is no [`KeyScope`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; search, feedback, upload and admin are")]
pub struct NoSuchScope(String);

impl KeyScope {
    pub const ALL: [Self; 4] = [Self::Search, Self::Feedback, Self::Upload, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Feedback => "feedback",
            Self::Upload => "upload",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyScope {
    type Err = NoSuchScope;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        known.ok_or_else(|| NoSuchScope(word.to_owned()))
    }
}

/// One key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Never used again, also if another key gets the name.
    pub id: String,
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The key's first characters, to recognise it by.
    pub beginning: String,
    pub scopes: BTreeSet<KeyScope>,
    pub created_ms: i64,
}

#[async_trait]
pub trait ApiKeys: Send + Sync + 'static {
    /// All keys, by name.
    async fn api_keys(&self) -> Result<Vec<ApiKey>, CatalogError>;

    /// Notes a key. Returns false, and changes nothing, if there is one of that name.
    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, CatalogError>;

    /// Forgets the key of that name. Returns whether there was one.
    async fn remove_api_key(&self, name: &str) -> Result<bool, CatalogError>;
}
