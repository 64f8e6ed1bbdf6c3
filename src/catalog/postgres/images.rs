//! Which images there are. Each statement reads the rows it returns and no others; lists over several sources are read from
//! each and merged here, since no index has the order of all of them.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use super::arguments::{hash_list, name_list, text};
use super::claims::holds_claim;
use super::connections::{Write, settled};
use super::counts::{count_all, fold_if_due};
use super::failure::Failed;
use super::listener::TELL;
use super::sources::source_key;
use super::vectors::note_orphans;
use crate::catalog::lists::Page;
use crate::catalog::rows::{
    facts_at, failed_at, fingerprint_at, hash_at, image_at, name_at, number_at, optional_hash_at,
};
use crate::catalog::{
    COPIES_COUNTED_MAX, CatalogError, FailedImage, FailurePage, Hint, ImageRow, Images, KnownImage,
    NamedContent, PageStart, RecentCursor, RecentPage, SeenImage, StateCounts,
};
use crate::types::{ContentHash, ImageName, Scope};

/// An entry of an index has at most 2704 bytes there.
const NAME_BYTES_MAX: usize = 2600;

macro_rules! of_source {
    () => {
        "SELECT name, size_bytes, version, modified_ms FROM images
            WHERE source = (SELECT key FROM sources WHERE id = $1) AND missing_since_ms IS NULL AND name > $2"
    };
}
macro_rules! found {
    () => {
        "format IS NOT NULL AND missing_since_ms IS NULL
            AND source IN (SELECT key FROM sources WHERE unconfigured_since_ms IS NULL)"
    };
}

const KNOWN: &str = concat!(of_source!(), " ORDER BY name LIMIT $3");
const KNOWN_BELOW: &str = concat!(of_source!(), " AND name < $4 ORDER BY name LIMIT $3");
const KNOWN_ALONE: &str = "SELECT name, size_bytes, version, modified_ms FROM images
    WHERE name = $2 AND source = (SELECT key FROM sources WHERE id = $1) AND missing_since_ms IS NULL";
/// As they were: only their place may be new.
const SEE_AGAIN: &str = "UPDATE images SET source = $1, missing_since_ms = NULL
    FROM unnest($2::text[], $3::bigint[], $4::text[]) AS seen (name, size_bytes, version)
    WHERE images.name = seen.name AND images.size_bytes = seen.size_bytes AND images.version = seen.version
        AND (images.source <> $1 OR images.missing_since_ms IS NOT NULL)";
const SEE: &str = "INSERT INTO images (source, name, size_bytes, version, modified_ms, state, due_ms, discovered_ms)
    SELECT $1, name, size_bytes, version, modified_ms, 'pending', due_ms, $7
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) WITH ORDINALITY
        AS seen (name, size_bytes, version, modified_ms, due_ms, place)
    ORDER BY place
    ON CONFLICT (name) DO UPDATE SET source = $1, size_bytes = excluded.size_bytes, version = excluded.version,
        modified_ms = excluded.modified_ms, state = 'pending', due_ms = excluded.due_ms, missing_since_ms = NULL,
        outdated = images.content_hash IS NOT NULL, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL,
        lease_token = NULL
    WHERE images.size_bytes <> excluded.size_bytes OR images.version <> excluded.version";
const FORGET_UNREAD: &str =
    "DELETE FROM images WHERE name = ANY ($2) AND source = $1 AND content_hash IS NULL";
const MARK_MISSING: &str = "UPDATE images SET missing_since_ms = $3, lease_token = NULL
    WHERE name = ANY ($2) AND source = $1 AND missing_since_ms IS NULL";
const FORGET: &str = "DELETE FROM images WHERE id IN (SELECT id FROM images WHERE name = ANY ($1) ORDER BY id FOR UPDATE)
    RETURNING content_hash";
const FORGET_MISSING: &str = "DELETE FROM images WHERE id IN (
        SELECT id FROM images WHERE missing_since_ms <= $1 ORDER BY missing_since_ms LIMIT $2 FOR UPDATE)
    RETURNING content_hash";
const FORGET_UNCONFIGURED: &str = "DELETE FROM images WHERE id IN (
        SELECT hidden.id FROM sources CROSS JOIN LATERAL (
            SELECT id FROM images WHERE images.source = sources.key AND missing_since_ms IS NULL
            ORDER BY name LIMIT $2 FOR UPDATE) AS hidden
        WHERE sources.unconfigured_since_ms <= $1 LIMIT $2)
    RETURNING content_hash";
/// Whoever records images of a source holds its row, so none comes while it is forgotten.
const LOCK_UNCONFIGURED: &str =
    "SELECT key FROM sources WHERE unconfigured_since_ms <= $1 ORDER BY key FOR UPDATE";
const FORGET_EMPTY: &str = "DELETE FROM sources WHERE key = ANY ($1)
    AND coalesce((SELECT sum(images) FROM image_counts WHERE source = sources.key), 0) = 0";
const BY_CONTENT: &str = concat!(
    "SELECT content_hash, name, format, width, height
    FROM unnest($1::bytea[]) AS asked (hash) CROSS JOIN LATERAL (
        SELECT content_hash, name, format, width, height FROM images WHERE content_hash = asked.hash AND ", found!(), "
        ORDER BY name LIMIT $2) AS named"
);
const COPIES: &str = concat!(
    "SELECT count(*) AS images FROM (SELECT 1 FROM images WHERE content_hash = $1 AND ",
    found!(),
    " LIMIT $2) AS copies"
);
const NAMES_OF: &str = concat!(
    "SELECT name FROM images WHERE content_hash = $1 AND name > $2 AND ",
    found!(),
    " ORDER BY name LIMIT $3"
);
const BY_NAME: &str = "SELECT images.*, sources.id AS source_id FROM images JOIN sources ON sources.key = images.source
    WHERE images.name = $1 AND missing_since_ms IS NULL AND unconfigured_since_ms IS NULL";
const CONFIGURED: &str =
    "SELECT key, id FROM sources WHERE unconfigured_since_ms IS NULL ORDER BY key";
const RECENT: &str = "SELECT *, $4::text AS source_id FROM images
    WHERE source = $1 AND format IS NOT NULL AND missing_since_ms IS NULL AND taken_ms < $2
    ORDER BY taken_ms DESC, id DESC LIMIT $3";
/// Thousands may be taken, as far as is known, in one millisecond: the cursor's own is a list in itself.
const RECENT_AT: &str = "SELECT *, $5::text AS source_id FROM images
    WHERE source = $1 AND format IS NOT NULL AND missing_since_ms IS NULL AND taken_ms = $2 AND id < $3
    ORDER BY id DESC LIMIT $4";
const FAILED: &str = "SELECT name, failure_code, failure, attempts FROM images
    WHERE source = $1 AND state = 'failed' AND missing_since_ms IS NULL AND name > $2 ORDER BY name LIMIT $3";
const SKIPPED: &str = "SELECT failure AS what, count(*) AS images FROM images
    WHERE source = $1 AND state = 'skipped' AND missing_since_ms IS NULL GROUP BY failure";

impl PostgresCatalog {
    pub(super) async fn configured(&self) -> Result<Vec<(i64, String)>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(CONFIGURED)).await?;
        rows.iter().map(|row| Ok((row.try_get("key")?, row.try_get("id")?))).collect()
    }

    /// Newest of one source, with their places.
    async fn recent_of(
        &self,
        (key, id): &(i64, String),
        after: RecentCursor,
        limit: u32,
    ) -> Result<Vec<(RecentCursor, ImageRow)>, CatalogError> {
        let at = sqlx::query(RECENT_AT)
            .bind(key)
            .bind(after.taken_ms)
            .bind(after.id)
            .bind(i64::from(limit))
            .bind(id);
        let mut rows = self.connections.fetch(at).await?;
        let rest = limit.saturating_sub(rows.len() as u32);
        if rest > 0 {
            let older =
                sqlx::query(RECENT).bind(key).bind(after.taken_ms).bind(i64::from(rest)).bind(id);
            rows.extend(self.connections.fetch(older).await?);
        }
        let placed = |row: &PgRow| {
            let place = RecentCursor { taken_ms: row.try_get("taken_ms")?, id: row.try_get("id")? };
            Ok((place, image_at(row)?))
        };
        rows.iter().map(placed).collect()
    }

    /// With a claim, that has to last, and does until this is over.
    async fn try_record(
        &self,
        claim: Option<&str>,
        source: &str,
        seen: &[&SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<bool, Failed> {
        let mut write = self.connections.begin().await?;
        if let Some(work) = claim
            && !holds_claim(&mut write, work, &self.holder, now_ms).await?
        {
            write.give_up().await?;
            return Ok(false);
        }
        let key = source_key(&mut write, source).await?;
        if !gone.is_empty() {
            let gone = name_list(gone);
            write.execute(sqlx::query(FORGET_UNREAD).bind(key).bind(&gone)).await?;
            write.execute(sqlx::query(MARK_MISSING).bind(key).bind(&gone).bind(now_ms)).await?;
        }
        if !seen.is_empty() {
            see(&mut write, key, seen, now_ms).await?;
            write.fetch(sqlx::query(TELL).bind(Hint::Work.as_str())).await?;
        }
        write.commit().await?;
        Ok(true)
    }

    /// See [`Images::record`], and of those with a claim [`crate::catalog::Claims::record_while_claimed`].
    pub(super) async fn record_all(
        &self,
        claim: Option<&str>,
        source: &str,
        seen: &[SeenImage],
        gone: &[ImageName],
        now_ms: i64,
    ) -> Result<bool, CatalogError> {
        let seen = storable(source, seen);
        let is_done = settled!(self.try_record(claim, source, &seen, gone, now_ms))?;
        fold_if_due(&self.connections).await;
        Ok(is_done)
    }

    async fn try_forget(&self, names: &[String], now_ms: i64) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        let rows = write.fetch(sqlx::query(FORGET).bind(names)).await?;
        note_forgotten(&mut write, &rows, now_ms).await?;
        write.commit().await?;
        Ok(rows.len() as u64)
    }

    async fn try_forget_missing(
        &self,
        before_ms: i64,
        limit: u32,
        now_ms: i64,
    ) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        let missing = sqlx::query(FORGET_MISSING).bind(before_ms).bind(i64::from(limit));
        let mut rows = write.fetch(missing).await?;
        let rest = limit.saturating_sub(rows.len() as u32);
        if rest > 0 {
            let hidden = sqlx::query(FORGET_UNCONFIGURED).bind(before_ms).bind(i64::from(rest));
            rows.extend(write.fetch(hidden).await?);
        }
        note_forgotten(&mut write, &rows, now_ms).await?;
        write.commit().await?;
        Ok(rows.len() as u64)
    }

    /// Forgets sources that are no longer configured and have no image any more.
    async fn try_forget_sources(&self, before_ms: i64) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        let keys = write.fetch(sqlx::query(LOCK_UNCONFIGURED).bind(before_ms)).await?;
        let keys = keys.iter().map(|row| row.try_get("key")).collect::<Result<Vec<i64>, _>>()?;
        if !keys.is_empty() {
            write.execute(sqlx::query(FORGET_EMPTY).bind(keys)).await?;
        }
        write.commit().await
    }
}

/// Each name once, the last time it was seen, and without those that are too long for an index.
fn storable<'a>(source: &str, seen: &'a [SeenImage]) -> Vec<&'a SeenImage> {
    let last: HashMap<&ImageName, usize> =
        seen.iter().enumerate().map(|(place, image)| (&image.name, place)).collect();
    let once =
        seen.iter().enumerate().filter(|(place, image)| last.get(&image.name) == Some(place));
    let (kept, long): (Vec<_>, Vec<_>) =
        once.map(|(_, image)| image).partition(|image| image.name.as_str().len() <= NAME_BYTES_MAX);
    if !long.is_empty() {
        tracing::warn!(
            source,
            images = long.len(),
            "left out: their names have more than {NAME_BYTES_MAX} bytes, which PostgreSQL cannot index"
        );
    }
    kept
}

async fn see(
    write: &mut Write<'_>,
    source: i64,
    seen: &[&SeenImage],
    now_ms: i64,
) -> Result<(), Failed> {
    let each = |value: fn(&SeenImage) -> i64| -> Vec<i64> {
        seen.iter().map(|image| value(image)).collect()
    };
    let names: Vec<&str> = seen.iter().map(|image| image.name.as_str()).collect();
    let sizes = each(|image| image.fingerprint.size_bytes as i64);
    let versions: Vec<String> =
        seen.iter().map(|image| text(&image.fingerprint.version).into_owned()).collect();
    let again = sqlx::query(SEE_AGAIN).bind(source).bind(&names).bind(&sizes).bind(&versions);
    write.execute(again).await?;
    let new_or_changed = sqlx::query(SEE)
        .bind(source)
        .bind(&names)
        .bind(&sizes)
        .bind(&versions)
        .bind(each(|image| image.fingerprint.modified_ms))
        .bind(each(|image| image.due_ms))
        .bind(now_ms);
    write.execute(new_or_changed).await.map(drop)
}

/// What the contents of forgotten images leave behind.
async fn note_forgotten(write: &mut Write<'_>, rows: &[PgRow], now_ms: i64) -> Result<(), Failed> {
    let mut hashes = Vec::new();
    for row in rows {
        hashes.extend(optional_hash_at(row)?);
    }
    note_orphans(write, &hashes, now_ms).await
}

#[async_trait]
impl Images for PostgresCatalog {
    async fn known(
        &self,
        source: &str,
        scope: &Scope,
        after: Option<&ImageName>,
        limit: u32,
    ) -> Result<Vec<KnownImage>, CatalogError> {
        let after = after.map_or("", ImageName::as_str);
        let mut rows = Vec::new();
        match scope {
            Scope::All => {
                let page = sqlx::query(KNOWN).bind(source).bind(after).bind(i64::from(limit));
                rows.extend(self.connections.fetch(page).await?);
            }
            // Under "a" are "a" itself and everything from "a/" up to, but not including, "a0" ('0' follows '/').
            Scope::Under(name) => {
                if after < name.as_str() {
                    let alone = sqlx::query(KNOWN_ALONE).bind(source).bind(name.as_str());
                    rows = self.connections.fetch(alone).await?;
                }
                let low = format!("{name}/");
                let low = if after > low.as_str() { after.to_owned() } else { low };
                let rest = i64::from(limit.saturating_sub(rows.len() as u32));
                let below = sqlx::query(KNOWN_BELOW)
                    .bind(source)
                    .bind(low)
                    .bind(rest)
                    .bind(format!("{name}0"));
                rows.extend(self.connections.fetch(below).await?);
            }
        }
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
        self.record_all(None, source, seen, gone, now_ms).await.map(drop)
    }

    async fn forget(&self, names: &[ImageName], now_ms: i64) -> Result<u64, CatalogError> {
        let names = name_list(names);
        settled!(self.try_forget(&names, now_ms))
    }

    async fn forget_missing(
        &self,
        before_ms: i64,
        limit: u32,
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        let forgotten = settled!(self.try_forget_missing(before_ms, limit, now_ms))?;
        if forgotten < u64::from(limit) {
            settled!(self.try_forget_sources(before_ms))?;
        }
        Ok(forgotten)
    }

    async fn images_of(
        &self,
        hashes: &[ContentHash],
        names_max: u32,
    ) -> Result<HashMap<ContentHash, NamedContent>, CatalogError> {
        // One more than asked for tells whether there are more to count, which there seldom are.
        let (names_max, asked) = (names_max.max(1) as usize, names_max.max(1).saturating_add(1));
        let rows = sqlx::query(BY_CONTENT).bind(hash_list(hashes)).bind(i64::from(asked));
        let mut contents: HashMap<ContentHash, NamedContent> = HashMap::with_capacity(hashes.len());
        for row in &self.connections.fetch(rows).await? {
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
                let counted = sqlx::query(COPIES)
                    .bind(hash.as_bytes().as_slice())
                    .bind(i64::from(COPIES_COUNTED_MAX));
                content.names_total =
                    number_at(&self.connections.fetch_one(counted).await?, "images")?;
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
        let page = sqlx::query(NAMES_OF)
            .bind(hash.as_bytes().as_slice())
            .bind(after)
            .bind(i64::from(limit));
        self.connections.fetch(page).await?.iter().map(name_at).collect()
    }

    async fn image(&self, name: &ImageName) -> Result<Option<ImageRow>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(BY_NAME).bind(name.as_str())).await?;
        rows.first().map(image_at).transpose()
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
        Ok(page.recent(found, count_all(&self.connections).await?.answering))
    }

    async fn counts(&self) -> Result<StateCounts, CatalogError> {
        Ok(count_all(&self.connections).await?.by_state)
    }

    async fn skipped(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for (key, _) in self.configured().await? {
            for row in self.connections.fetch(sqlx::query(SKIPPED).bind(key)).await? {
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
            let rows = sqlx::query(FAILED).bind(key).bind(after).bind(i64::from(page.wanted()));
            for row in &self.connections.fetch(rows).await? {
                found.push(failed_at(row)?);
            }
        }
        Ok(page.failures(found, count_all(&self.connections).await?.by_state.failed))
    }
}
