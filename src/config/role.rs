//! `role`: what a serving process does, and what that needs.

use std::fmt;

use serde::Deserialize;

use super::{Config, ConfigError, QDRANT_PREFIX, is_postgres};

/// What `serve` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers searches, takes ratings and uploads; indexes nothing.
    Api,
    /// Finds and indexes pictures; answers no searches.
    Worker,
    /// Both.
    All,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::All];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::All => "all",
        }
    }

    pub fn answers(self) -> bool {
        self != Self::Worker
    }

    pub fn indexes(self) -> bool {
        self != Self::Api
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Config {
    /// Who does one half needs others that do the rest with the same tables and vectors.
    pub fn check_role(&self) -> Result<(), ConfigError> {
        let is_shared =
            is_postgres(&self.catalog.url) && self.vector_store.url.starts_with(QDRANT_PREFIX);
        super::check(
            self.role == Role::All || is_shared,
            "role",
            self.role.to_string(),
            "this needs a catalog in PostgreSQL (catalog.url) and a Qdrant server (vector_store.url), so that others can do the rest; without them there is only all",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::built_in;

    #[test]
    fn half_of_the_work_needs_others_for_the_rest() {
        for role in Role::ALL {
            let mut config = built_in();
            config.role = role;
            assert_eq!(config.check_role().is_ok(), role == Role::All, "{role}");
            config.catalog.url = "postgres://me@host/db".into();
            assert_eq!(config.check_role().is_ok(), role == Role::All, "{role}");
            config.vector_store.url = "qdrant+http://host:6334".into();
            assert!(config.check_role().is_ok(), "{role}");
        }
    }
}
