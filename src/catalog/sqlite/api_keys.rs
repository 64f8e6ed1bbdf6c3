//! API keys. There are few, so they are always read all together.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::statements;
use super::writer::Purpose;
use crate::catalog::rows::damaged;
use crate::catalog::{ApiKey, ApiKeys, CatalogError, KeyScope};

statements! {
    API_KEYS = "SELECT * FROM api_keys ORDER BY name";
    ADD = "INSERT INTO api_keys (id, name, hash, beginning, scopes, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO NOTHING";
    REMOVE = "DELETE FROM api_keys WHERE name = ?1";
}

#[async_trait]
impl ApiKeys for SqliteCatalog {
    async fn api_keys(&self) -> Result<Vec<ApiKey>, CatalogError> {
        let rows = sqlx::query(API_KEYS).fetch_all(&self.readers).await?;
        rows.iter().map(key_at).collect()
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<bool, CatalogError> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let mut write = self.writer.begin(Purpose::Promise).await?;
        let add = sqlx::query(ADD)
            .bind(&key.id)
            .bind(&key.name)
            .bind(key.hash.as_slice())
            .bind(&key.beginning)
            .bind(scopes.join(" "))
            .bind(key.created_ms);
        let added = write.execute(add).await?;
        write.commit().await?;
        Ok(added == 1)
    }

    async fn remove_api_key(&self, name: &str) -> Result<bool, CatalogError> {
        let mut write = self.writer.begin(Purpose::Promise).await?;
        let removed = write.execute(sqlx::query(REMOVE).bind(name)).await?;
        write.commit().await?;
        Ok(removed == 1)
    }
}

fn key_at(row: &SqliteRow) -> Result<ApiKey, CatalogError> {
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
