//! Which images there are. Each statement reads the rows it returns and no others; lists over several sources are read from
//! each and merged here, since no index has the order of all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::arguments::{hex_list, name_list};
use super::sources::source_key;
use super::statements;
use super::vectors::note_orphans;
use super::writer::{Purpose, Write};
use crate::catalog::lists::{Counts, Page};
use crate::catalog::rows::{
    facts_at, failed_at, fingerprint_at, hash_at, image_at, name_at, number_at, optional_hash_at,
};
use crate::catalog::{
    COPIES_COUNTED_MAX, CatalogError, FailedImage, FailurePage, ImageRow, Images, KnownImage,
    NamedContent, PageStart, RecentCursor, RecentPage, SeenImage, StateCounts,
};
use crate::types::{ContentHash, ImageName, Scope};

statements! {
    KNOWN = "SELECT name, size_bytes, version, modified_ms FROM images
        WHERE source = (SELECT key FROM sources WHERE id = ?1) AND missing_since_ms IS NULL
            AND name > ?2 AND name < ?3 ORDER BY name LIMIT ?4";
    KNOWN_ALONE = "SELECT images.name, size_bytes, version, modified_ms FROM images
        WHERE name = ?2 AND source = (SELECT key FROM sources WHERE id = ?1) AND missing_since_ms IS NULL";
    /// As it was: only its place may be new.
    SEE_AGAIN = "UPDATE images SET source = ?1, missing_since_ms = NULL WHERE name = ?2 AND size_bytes = ?3 AND version = ?4";
    SEE = "INSERT INTO images (source, name, size_bytes, version, modified_ms, state, due_ms, discovered_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7)
        ON CONFLICT (name) DO UPDATE SET source = ?1, size_bytes = ?3, version = ?4, modified_ms = ?5, state = 'pending',
            due_ms = ?6, missing_since_ms = NULL, outdated = content_hash IS NOT NULL, attempts = 0, interruptions = 0,
            failure_code = NULL, failure = NULL, lease_token = NULL";
    FORGET_UNREAD = "DELETE FROM images WHERE name = ?2 AND source = ?1 AND content_hash IS NULL";
    MARK_MISSING = "UPDATE images SET missing_since_ms = ?3, lease_token = NULL
        WHERE name = ?2 AND source = ?1 AND missing_since_ms IS NULL";
    FORGET = "DELETE FROM images WHERE name IN (SELECT value FROM json_each(?1)) RETURNING content_hash";
    FORGET_MISSING = "DELETE FROM images WHERE id IN (
            SELECT id FROM images WHERE missing_since_ms <= ?1 ORDER BY missing_since_ms LIMIT ?2)
        RETURNING content_hash";
    FORGET_UNCONFIGURED = "DELETE FROM images WHERE id IN (
            SELECT images.id FROM sources CROSS JOIN images ON images.source = sources.key
            WHERE sources.unconfigured_since_ms <= ?1 AND images.missing_since_ms IS NULL LIMIT ?2)
        RETURNING content_hash";
    EMPTY_SOURCES = "SELECT key FROM sources WHERE unconfigured_since_ms <= ?1
        AND NOT EXISTS (SELECT 1 FROM image_counts WHERE source = sources.key AND images > 0)";
    FORGET_COUNTS = "DELETE FROM image_counts WHERE source = ?1";
    FORGET_SOURCE = "DELETE FROM sources WHERE key = ?1";
    BY_CONTENT = "SELECT content_hash, name, format, width, height
        FROM json_each(?1) CROSS JOIN images ON images.id IN (
            SELECT id FROM images INDEXED BY images_by_hash
            WHERE content_hash = unhex(json_each.value) AND format IS NOT NULL AND missing_since_ms IS NULL
                AND source IN (SELECT key FROM sources WHERE unconfigured_since_ms IS NULL)
            ORDER BY name LIMIT ?2)";
    COPIES = "SELECT count(*) AS images FROM (
        SELECT 1 FROM images INDEXED BY images_by_hash
        WHERE content_hash = ?1 AND format IS NOT NULL AND missing_since_ms IS NULL
            AND source IN (SELECT key FROM sources WHERE unconfigured_since_ms IS NULL)
        LIMIT ?2)";
    NAMES_OF = "SELECT name FROM images INDEXED BY images_by_hash
        WHERE content_hash = ?1 AND name > ?2 AND format IS NOT NULL AND missing_since_ms IS NULL
            AND source IN (SELECT key FROM sources WHERE unconfigured_since_ms IS NULL)
        ORDER BY name LIMIT ?3";
    BY_NAME = "SELECT images.*, sources.id AS source_id FROM images JOIN sources ON sources.key = images.source
        WHERE images.name = ?1 AND missing_since_ms IS NULL AND unconfigured_since_ms IS NULL";
    CONFIGURED = "SELECT key, id FROM sources WHERE unconfigured_since_ms IS NULL ORDER BY key";
    RECENT = "SELECT *, ?4 AS source_id FROM images
        WHERE source = ?1 AND format IS NOT NULL AND missing_since_ms IS NULL AND taken_ms < ?2
        ORDER BY taken_ms DESC, id DESC LIMIT ?3";
    /// Thousands may be taken, as far as is known, in one millisecond: the cursor's own is a list in itself.
    RECENT_AT = "SELECT *, ?5 AS source_id FROM images
        WHERE source = ?1 AND format IS NOT NULL AND missing_since_ms IS NULL AND taken_ms = ?2 AND id < ?3
        ORDER BY id DESC LIMIT ?4";
    FAILED = "SELECT name, failure_code, failure, attempts FROM images
        WHERE source = ?1 AND state = 'failed' AND missing_since_ms IS NULL AND name > ?2 ORDER BY name LIMIT ?3";
    SKIPPED = "SELECT failure AS what, count(*) AS images FROM images
        WHERE source = ?1 AND state = 'skipped' AND missing_since_ms IS NULL GROUP BY failure";
    COUNTS = "SELECT state, missing, answers, unconfigured_since_ms IS NOT NULL AS unconfigured, sum(images) AS images
        FROM image_counts JOIN sources ON sources.key = image_counts.source GROUP BY 1, 2, 3, 4";
}

/// Greater than every name: SQLite orders all blobs after all texts.
const BEHIND_ALL_NAMES: &[u8] = &[];

/// See [`Images::record`].
pub(super) async fn record(
    write: &mut Write<'_>,
    source: &str,
    seen: &[SeenImage],
    gone: &[ImageName],
    now_ms: i64,
) -> Result<(), CatalogError> {
    let key = source_key(write, source).await?;
    for name in gone {
        let name = name.as_str();
        write.execute(sqlx::query(FORGET_UNREAD).bind(key).bind(name)).await?;
        write.execute(sqlx::query(MARK_MISSING).bind(key).bind(name).bind(now_ms)).await?;
    }
    for image in seen {
        see(write, key, image, now_ms).await?;
    }
    Ok(())
}

impl SqliteCatalog {
    async fn count_all(&self) -> Result<Counts, CatalogError> {
        Counts::of(&sqlx::query(COUNTS).fetch_all(&self.readers).await?)
    }

    pub(super) async fn configured(&self) -> Result<Vec<(i64, String)>, CatalogError> {
        let rows = sqlx::query(CONFIGURED).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("id")?))).collect()
    }

    /// Newest of one source, with their places.
    async fn recent_of(
        &self,
        (key, id): &(i64, String),
        after: RecentCursor,
        limit: u32,
    ) -> Result<Vec<(RecentCursor, ImageRow)>, CatalogError> {
        let mut rows = sqlx::query(RECENT_AT)
            .bind(key)
            .bind(after.taken_ms)
            .bind(after.id)
            .bind(limit)
            .bind(id)
            .fetch_all(&self.readers)
            .await?;
        let rest = limit.saturating_sub(rows.len() as u32);
        if rest > 0 {
            let older = sqlx::query(RECENT)
                .bind(key)
                .bind(after.taken_ms)
                .bind(rest)
                .bind(id)
                .fetch_all(&self.readers)
                .await?;
            rows.extend(older);
        }
        let placed = |row: &SqliteRow| {
            let place = RecentCursor { taken_ms: row.try_get("taken_ms")?, id: row.try_get("id")? };
            Ok((place, image_at(row)?))
        };
        rows.iter().map(placed).collect()
    }
}

#[async_trait]
impl Images for SqliteCatalog {
    async fn known(
        &self,
        source: &str,
        scope: &Scope,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<KnownImage>, CatalogError> {
        let after = after.map_or("", ImageName::as_str);
        let mut rows = Vec::new();
        let page = sqlx::query(KNOWN).bind(source);
        let page = match scope {
            Scope::All => page.bind(after.to_owned()).bind(BEHIND_ALL_NAMES),
            // Under "a" are "a" itself and everything from "a/" up to, but not including, "a0" ('0' follows '/').
            Scope::Under(name) => {
                if after < name.as_str() {
                    rows = sqlx::query(KNOWN_ALONE)
                        .bind(source)
                        .bind(name.as_str())
                        .fetch_all(&self.readers)
                        .await?;
                }
                let low = format!("{name}/");
                let low = if after > low.as_str() { after.to_owned() } else { low };
                page.bind(low).bind(format!("{name}0"))
            }
        };
        let limit = limit.saturating_sub(rows.len() as u32);
        rows.extend(page.bind(limit).fetch_all(&self.readers).await?);
        rows.iter()
            .map(|row| Ok(KnownImage { name: name_at(row)?, fingerprint: fingerprint_at(row)? }))
            .collect()
    }

    async fn record(
        &self,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let purpose = if seen.is_empty() { Purpose::Settle } else { Purpose::Grow };
        let mut write = self.writer.begin(purpose).await?;
        record(&mut write, source, seen, gone, now_ms).await?;
        write.commit().await
    }

    async fn forget(&self, names: &[ImageName], now_ms: i64) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let rows = write.fetch(sqlx::query(FORGET).bind(name_list(names))).await?;
        note_forgotten(&mut write, &rows, now_ms).await?;
        write.commit().await?;
        Ok(rows.len() as u64)
    }

    async fn forget_missing(
        &self,
        before_ms: i64,
        limit: u32,
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let mut rows = write.fetch(sqlx::query(FORGET_MISSING).bind(before_ms).bind(limit)).await?;
        let rest = limit.saturating_sub(rows.len() as u32);
        if rest > 0 {
            let hidden = sqlx::query(FORGET_UNCONFIGURED).bind(before_ms).bind(rest);
            rows.extend(write.fetch(hidden).await?);
            for empty in write.fetch(sqlx::query(EMPTY_SOURCES).bind(before_ms)).await? {
                let key: i64 = empty.try_get("key")?;
                write.execute(sqlx::query(FORGET_COUNTS).bind(key)).await?;
                write.execute(sqlx::query(FORGET_SOURCE).bind(key)).await?;
            }
        }
        note_forgotten(&mut write, &rows, now_ms).await?;
        write.commit().await?;
        Ok(rows.len() as u64)
    }

    async fn images_of(
        &self,
        hashes: &[ContentHash],
        names_max: u32,
    ) -> Result<HashMap<ContentHash, NamedContent>, CatalogError> {
        // As a set: a hash asked for twice must not double its names.
        let hashes: Vec<ContentHash> =
            hashes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        // One more than asked for tells whether there are more to count, which there seldom are.
        let (names_max, asked) = (names_max.max(1) as usize, names_max.max(1).saturating_add(1));
        let rows = sqlx::query(BY_CONTENT).bind(hex_list(&hashes)).bind(asked);
        let mut contents: HashMap<ContentHash, NamedContent> = HashMap::with_capacity(hashes.len());
        for row in &rows.fetch_all(&self.readers).await? {
            let facts = facts_at(row)?;
            contents
                .entry(hash_at(row)?)
                .or_insert_with(|| NamedContent { names: Vec::new(), names_total: 0, facts })
                .names
                .push(name_at(row)?);
        }
        for (hash, content) in &mut contents {
            content.names.sort();
            content.names_total = content.names.len() as u64;
            if content.names.len() > names_max {
                content.names.truncate(names_max);
                let counted =
                    sqlx::query(COPIES).bind(&hash.as_bytes()[..]).bind(COPIES_COUNTED_MAX);
                content.names_total =
                    number_at(&counted.fetch_one(&self.readers).await?, "images")?;
            }
        }
        Ok(contents)
    }

    async fn names_of(
        &self,
        hash: &ContentHash,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<ImageName>, CatalogError> {
        let after = after.map_or("", ImageName::as_str);
        let rows = sqlx::query(NAMES_OF).bind(&hash.as_bytes()[..]).bind(after).bind(limit);
        rows.fetch_all(&self.readers).await?.iter().map(name_at).collect()
    }

    async fn image(&self, name: &ImageName) -> Result<Option<ImageRow>, CatalogError> {
        let row = sqlx::query(BY_NAME).bind(name.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(image_at).transpose()
    }

    async fn recent(
        &self,
        limit: u32,
        start: PageStart<RecentCursor>,
    ) -> Result<RecentPage, CatalogError> {
        let (page, after) = (Page::new(limit, &start), start.place());
        let mut found = Vec::new();
        for source in self.configured().await? {
            found.extend(self.recent_of(&source, after, page.wanted()).await?);
        }
        Ok(page.recent(found, self.count_all().await?.answering))
    }

    async fn counts(&self) -> Result<StateCounts, CatalogError> {
        Ok(self.count_all().await?.by_state)
    }

    async fn skipped(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for (key, _) in self.configured().await? {
            for row in sqlx::query(SKIPPED).bind(key).fetch_all(&self.readers).await? {
                *kinds.entry(row.try_get("what")?).or_default() +=
                    number_at::<u64>(&row, "images")?;
            }
        }
        Ok(kinds.into_iter().collect())
    }

    async fn failures(
        &self,
        limit: u32,
        start: PageStart<ImageName>,
    ) -> Result<FailurePage, CatalogError> {
        let (page, after) = (Page::new(limit, &start), start.name());
        let mut found: Vec<FailedImage> = Vec::new();
        for (key, _) in self.configured().await? {
            let rows = sqlx::query(FAILED)
                .bind(key)
                .bind(after)
                .bind(page.wanted())
                .fetch_all(&self.readers)
                .await?;
            for row in &rows {
                found.push(failed_at(row)?);
            }
        }
        Ok(page.failures(found, self.count_all().await?.by_state.failed))
    }
}

async fn see(
    write: &mut Write<'_>,
    source: i64,
    image: &SeenImage,
    now_ms: i64,
) -> Result<(), CatalogError> {
    let fingerprint = &image.fingerprint;
    let again = sqlx::query(SEE_AGAIN)
        .bind(source)
        .bind(image.name.as_str())
        .bind(fingerprint.size_bytes as i64)
        .bind(&fingerprint.version);
    if write.execute(again).await? > 0 {
        return Ok(());
    }
    let new_or_changed = sqlx::query(SEE)
        .bind(source)
        .bind(image.name.as_str())
        .bind(fingerprint.size_bytes as i64)
        .bind(&fingerprint.version)
        .bind(fingerprint.modified_ms)
        .bind(image.due_ms)
        .bind(now_ms);
    write.execute(new_or_changed).await.map(drop)
}

/// What the contents of forgotten images leave behind.
async fn note_forgotten(
    write: &mut Write<'_>,
    rows: &[SqliteRow],
    now_ms: i64,
) -> Result<(), CatalogError> {
    let mut hashes = Vec::new();
    for row in rows {
        hashes.extend(optional_hash_at(row)?);
    }
    note_orphans(write, &hashes, now_ms).await
}
