//! API keys. There are few, so they are always read all together.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use crate::catalog::rows::damaged;
use crate::catalog::{ApiKey, ApiKeys, CatalogError, KeyScope};

const API_KEYS: &str = "SELECT * FROM api_keys ORDER BY name";
const ADD: &str = "INSERT INTO api_keys (id, name, hash, beginning, scopes, created_ms) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
const REMOVE: &str = "DELETE FROM api_keys WHERE name = $1";

#[async_trait]
impl ApiKeys for PostgresCatalog {
    async fn api_keys(&self) -> Result<Vec<ApiKey>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(API_KEYS)).await?;
        rows.iter().map(key_at).collect()
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, CatalogError> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let add = sqlx::query(ADD)
            .bind(&key.id)
            .bind(&key.name)
            .bind(key.hash.as_slice())
            .bind(&key.beginning)
            .bind(scopes.join(" "))
            .bind(key.created_ms);
        Ok(self.connections.execute(add).await? == 1)
    }

    async fn remove_api_key(&self, name: &str) -> Result<bool, CatalogError> {
        Ok(self.connections.execute(sqlx::query(REMOVE).bind(name)).await? == 1)
    }
}

fn key_at(row: &PgRow) -> Result<ApiKey, CatalogError> {
    let name: String = row.try_get("name")?;
    let (hash, scopes): (Vec<u8>, String) = (row.try_get("hash")?, row.try_get("scopes")?);
    let hash =
        hash.try_into().map_err(|_| damaged(format_args!("the key {name:?} has no hash")))?;
    // A scope of a later version allows nothing that this one knows.
    let scopes = scopes.split(' ').filter_map(|word| word.parse::<KeyScope>().ok()).collect();
    Ok(ApiKey {
        id: row.try_get("id")?,
        name,
        hash,
        beginning: row.try_get("beginning")?,
        scopes,
        created_ms: row.try_get("created_ms")?,
    })
}
