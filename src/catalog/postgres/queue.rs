//! The images as a queue. A lease is one statement: it takes the first due rows that nobody else is taking (SKIP LOCKED), marks
//! them with its token and notes itself. What a worker says of an image counts only under that token.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresCatalog;
use super::arguments::{hash_list, name_list, text};
use super::connections::{Write, settled};
use super::counts::fold_if_due;
use super::facts::{NotedHeader, note_headers};
use super::failure::Failed;
use super::listener::TELL;
use super::processes::check_model;
use super::vectors::{lock_vectors, note_orphans};
use crate::catalog::rows::{hash_at, leased_at, name_at, number_at, optional_hash_at};
use crate::catalog::{
    CatalogError, CompletedImage, Failure, Hint, LeasedImage, Queue, SUSPECT_INTERRUPTIONS,
};
use crate::types::{ContentHash, Fingerprint, ImageName};

/// What an index on the queue is about.
macro_rules! waiting {
    () => {
        "state = 'pending' AND lease_token IS NULL AND missing_since_ms IS NULL"
    };
}
macro_rules! workable {
    () => {
        "sources.away_since_ms IS NULL AND sources.unconfigured_since_ms IS NULL"
    };
}
macro_rules! claim {
    ($interruptions:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (
                SELECT waiting.id FROM sources CROSS JOIN LATERAL (
                    SELECT id, due_ms FROM images
                    WHERE images.source = sources.key AND ", waiting!(), " AND ", $interruptions, " AND due_ms <= $2
                    ORDER BY due_ms, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS waiting
                WHERE ", workable!(), " ORDER BY sources.key, waiting.due_ms, waiting.id LIMIT $3),
            noted AS (
                INSERT INTO leases (token, holder, until_ms) SELECT $1, $4, $5 WHERE EXISTS (SELECT 1 FROM due)
                ON CONFLICT (token) DO UPDATE SET until_ms = excluded.until_ms)
            UPDATE images SET lease_token = $1 FROM due WHERE images.id = due.id
            RETURNING images.*, (SELECT sources.id FROM sources WHERE key = images.source) AS source_id"
        )
    };
}
macro_rules! first_due {
    ($interruptions:literal) => {
        concat!(
            "(SELECT due_ms FROM images WHERE source = sources.key AND ",
            waiting!(),
            " AND ",
            $interruptions,
            " ORDER BY due_ms LIMIT 1)"
        )
    };
}
/// What is freed queues behind the others, so that what may have killed us is not first again.
macro_rules! free {
    ($leases:literal) => {
        concat!(
            "WITH ended AS (DELETE FROM leases WHERE ", $leases, " RETURNING token)
            UPDATE images SET lease_token = NULL, interruptions = interruptions + 1, due_ms = greatest(due_ms, $2)
            WHERE lease_token IN (SELECT token FROM ended)"
        )
    };
}

// The numbers are SUSPECT_INTERRUPTIONS; the indexes name it too.
const LEASE: &str = claim!("interruptions < 3");
const LEASE_SUSPECT: &str = claim!("interruptions >= 3");
const RENEW: &str = "UPDATE leases SET until_ms = $2 WHERE token = $1";
const RELEASE: &str = "WITH ended AS (DELETE FROM leases WHERE token = $1)
    UPDATE images SET lease_token = NULL WHERE lease_token = $1";
const FREE_EXPIRED: &str = free!("until_ms < $1");
const FREE_OWN: &str = free!("holder = $1");
const LOCK_LEASE: &str = "SELECT 1 FROM leases WHERE token = $1 FOR UPDATE";
const HELD: &str = "SELECT id, content_hash, outdated, name, modified_ms FROM images
    WHERE id = ANY ($1) AND lease_token = $2 AND state = 'pending' ORDER BY id FOR UPDATE";
const END_EMPTY_LEASE: &str = "DELETE FROM leases WHERE token = $1 AND NOT EXISTS (SELECT 1 FROM images WHERE lease_token = $1)";
const PUT_BACK: &str = "UPDATE images SET lease_token = NULL WHERE id = ANY ($1)";
const CONFIRM_VECTORS: &str = "UPDATE vectors SET stored = TRUE
    WHERE model = $1 AND content_hash = ANY ($2) AND deleting_token IS NULL RETURNING content_hash";
const COUNT_ON_VECTORS: &str = "UPDATE vectors SET orphaned_ms = NULL
    WHERE content_hash = ANY ($1) AND stored AND orphaned_ms IS NOT NULL";
const COMPLETE: &str = "UPDATE images SET state = 'indexed', content_hash = done.content_hash, format = done.format,
        width = done.width, height = done.height, indexed_ms = $6, outdated = FALSE, attempts = 0, interruptions = 0,
        failure_code = NULL, failure = NULL, lease_token = NULL
    FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[])
        AS done (id, content_hash, format, width, height)
    WHERE images.id = done.id";
/// Whoever completes for another model than the last makes it unknown which images have vectors of either.
const DOUBT_COMPLETENESS: &str = "UPDATE vectors_complete_for SET model = NULL WHERE model <> $1";
const FAIL: &str = "UPDATE images SET state = CASE WHEN $2::bigint IS NULL THEN 'failed' ELSE 'pending' END,
        due_ms = coalesce($2, 0), attempts = attempts + 1, failure_code = $3, failure = $4, lease_token = NULL
    WHERE id = $1";
const SKIP: &str = "UPDATE images SET state = 'skipped', due_ms = 0, failure_code = NULL, failure = $2, lease_token = NULL,
        content_hash = NULL, format = NULL, width = NULL, height = NULL, outdated = FALSE
    WHERE id = $1";
const DROP_CONTENT: &str = "UPDATE images SET content_hash = NULL, format = NULL, width = NULL, height = NULL, outdated = FALSE
    WHERE id = $1";
const DEFER: &str = "UPDATE images SET size_bytes = $3, version = $4, modified_ms = $5, due_ms = $6, lease_token = NULL
    WHERE id = $1 AND lease_token = $2 AND state = 'pending'";
const FORGET_UNREAD: &str = "DELETE FROM images WHERE id = $1 AND content_hash IS NULL";
const MARK_MISSING: &str =
    "UPDATE images SET missing_since_ms = $2, lease_token = NULL WHERE id = $1";
const NEXT_DUE: &str = concat!(
    "SELECT min(due) AS due FROM (
        SELECT ",
    first_due!("interruptions < 3"),
    " AS due FROM sources WHERE ",
    workable!(),
    "
        UNION ALL SELECT ",
    first_due!("interruptions >= 3"),
    " FROM sources WHERE ",
    workable!(),
    "
        UNION ALL SELECT min(until_ms) FROM leases WHERE token NOT LIKE 'work/%') AS dues"
);
const AWAITING: &str = "SELECT coalesce(sum(images), 0)::bigint AS images FROM image_counts JOIN sources ON sources.key = image_counts.source
    WHERE unconfigured_since_ms IS NULL AND state = 'pending' AND NOT missing AND answers";
const RETRY_ALL: &str = "UPDATE images SET state = 'pending', due_ms = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL
    WHERE state = 'failed' AND missing_since_ms IS NULL";
const RETRY: &str = "UPDATE images SET state = 'pending', due_ms = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL
    WHERE name = ANY ($1) AND state = 'failed' AND missing_since_ms IS NULL";

/// An image under a lease.
struct Held {
    hash: Option<ContentHash>,
    outdated: bool,
    name: ImageName,
    modified_ms: i64,
}

/// Those of these images that the token holds. They, and the lease, stay as they are until the transaction ends.
async fn held(
    write: &mut Write<'_>,
    token: &str,
    image_ids: &[i64],
) -> Result<HashMap<i64, Held>, Failed> {
    write.fetch(sqlx::query(LOCK_LEASE).bind(token)).await?;
    let rows = write.fetch(sqlx::query(HELD).bind(image_ids).bind(token)).await?;
    let held_at = |row: &PgRow| {
        let held = Held {
            hash: optional_hash_at(row)?,
            outdated: row.try_get("outdated")?,
            name: name_at(row)?,
            modified_ms: row.try_get("modified_ms")?,
        };
        Ok((row.try_get("id")?, held))
    };
    rows.iter().map(held_at).collect()
}

/// The same for one.
async fn held_one(
    write: &mut Write<'_>,
    token: &str,
    image_id: i64,
) -> Result<Option<Held>, Failed> {
    Ok(held(write, token, &[image_id]).await?.remove(&image_id))
}

/// A lease lasts as long as it holds something.
async fn end_empty_lease(write: &mut Write<'_>, token: &str) -> Result<(), Failed> {
    write.execute(sqlx::query(END_EMPTY_LEASE).bind(token)).await.map(drop)
}

/// The image was taken from the lease, which may have held nothing else.
async fn end_what_was_taken(mut write: Write<'_>, token: &str) -> Result<(), Failed> {
    end_empty_lease(&mut write, token).await?;
    write.commit().await
}

async fn mark_complete(
    write: &mut Write<'_>,
    done: &[&CompletedImage],
    now_ms: i64,
) -> Result<u64, Failed> {
    let each = |value: fn(&CompletedImage) -> i64| -> Vec<i64> {
        done.iter().map(|image| value(image)).collect()
    };
    let hashes: Vec<Vec<u8>> = done.iter().map(|image| image.hash.as_bytes().to_vec()).collect();
    let formats: Vec<String> = done.iter().map(|image| image.facts.format.clone()).collect();
    let complete = sqlx::query(COMPLETE)
        .bind(each(|image| image.image_id))
        .bind(&hashes)
        .bind(formats)
        .bind(each(|image| i64::from(image.facts.width)))
        .bind(each(|image| i64::from(image.facts.height)))
        .bind(now_ms);
    let indexed = write.execute(complete).await?;
    write.execute(sqlx::query(COUNT_ON_VECTORS).bind(hashes)).await?;
    Ok(indexed)
}

impl PostgresCatalog {
    async fn try_complete(
        &self,
        model: &str,
        token: &str,
        done: &[CompletedImage],
        now_ms: i64,
    ) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        check_model(&mut write, model).await?;
        write.execute(sqlx::query(DOUBT_COMPLETENESS).bind(model)).await?;
        let ids: Vec<i64> = done.iter().map(|image| image.image_id).collect();
        let held = held(&mut write, token, &ids).await?;
        let before = held.values().filter_map(|held| held.hash.as_ref());
        let hashes = hash_list(done.iter().map(|image| &image.hash));
        lock_vectors(&mut write, &hash_list(done.iter().map(|image| &image.hash).chain(before)))
            .await?;
        let confirm = sqlx::query(CONFIRM_VECTORS).bind(model).bind(hashes);
        let confirmed = write.fetch(confirm).await?;
        let confirmed: HashSet<ContentHash> =
            confirmed.iter().map(hash_at).collect::<Result<_, _>>()?;
        let (counted, put_back): (Vec<&CompletedImage>, Vec<&CompletedImage>) = done
            .iter()
            .filter(|image| held.contains_key(&image.image_id))
            .partition(|image| confirmed.contains(&image.hash));
        if !put_back.is_empty() {
            let ids: Vec<i64> = put_back.iter().map(|image| image.image_id).collect();
            write.execute(sqlx::query(PUT_BACK).bind(ids)).await?;
        }
        let indexed = mark_complete(&mut write, &counted, now_ms).await?;
        let noted = counted.iter().filter_map(|image| {
            let file = held.get(&image.image_id)?;
            Some(NotedHeader {
                image_id: image.image_id,
                name: &file.name,
                modified_ms: file.modified_ms,
                hash: &image.hash,
                header: &image.header,
            })
        });
        note_headers(&mut write, &noted.collect::<Vec<_>>()).await?;
        let replaced = counted.iter().filter_map(|image| {
            held.get(&image.image_id)?.hash.filter(|before| *before != image.hash)
        });
        note_orphans(&mut write, &replaced.collect::<Vec<_>>(), now_ms).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await?;
        Ok(indexed)
    }

    async fn try_fail(
        &self,
        token: &str,
        image_id: i64,
        failure: &Failure,
        retry_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        let Some(before) = held_one(&mut write, token, image_id).await? else {
            return end_what_was_taken(write, token).await;
        };
        let fail = sqlx::query(FAIL)
            .bind(image_id)
            .bind(retry_ms)
            .bind(failure.code.as_str())
            .bind(text(&failure.reason));
        write.execute(fail).await?;
        // The file was changed to something that is no picture: what it was answers no more.
        if before.outdated && retry_ms.is_none() && failure.code.is_of_content() {
            write.execute(sqlx::query(DROP_CONTENT).bind(image_id)).await?;
            note_orphans(&mut write, before.hash.as_slice(), now_ms).await?;
        }
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn try_skip(
        &self,
        token: &str,
        image_id: i64,
        what: &str,
        now_ms: i64,
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        let Some(before) = held_one(&mut write, token, image_id).await? else {
            return end_what_was_taken(write, token).await;
        };
        write.execute(sqlx::query(SKIP).bind(image_id).bind(text(what))).await?;
        note_orphans(&mut write, before.hash.as_slice(), now_ms).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn try_defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        write.fetch(sqlx::query(LOCK_LEASE).bind(token)).await?;
        let defer = sqlx::query(DEFER)
            .bind(image_id)
            .bind(token)
            .bind(fingerprint.size_bytes as i64)
            .bind(text(&fingerprint.version))
            .bind(fingerprint.modified_ms)
            .bind(due_ms);
        write.execute(defer).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn try_gone(&self, token: &str, image_id: i64, now_ms: i64) -> Result<(), Failed> {
        let mut write = self.connections.begin().await?;
        if held_one(&mut write, token, image_id).await?.is_none() {
            return end_what_was_taken(write, token).await;
        }
        if write.execute(sqlx::query(FORGET_UNREAD).bind(image_id)).await? == 0 {
            write.execute(sqlx::query(MARK_MISSING).bind(image_id).bind(now_ms)).await?;
        }
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    /// A statement that frees images for everybody, or makes them pending. Returns how many.
    async fn make_due(
        &self,
        statement: &'static str,
        bind: impl Fn(super::connections::Statement<'static>) -> super::connections::Statement<'static>,
    ) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        let images = write.execute(bind(sqlx::query(statement))).await?;
        if images > 0 {
            write.fetch(sqlx::query(TELL).bind(Hint::Work.as_str())).await?;
        }
        write.commit().await?;
        Ok(images)
    }
}

#[async_trait]
impl Queue for PostgresCatalog {
    async fn lease(
        &self,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
        suspects: bool,
    ) -> Result<Vec<LeasedImage>, CatalogError> {
        let (statement, limit) = if suspects { (LEASE_SUSPECT, 1) } else { (LEASE, limit) };
        let lease = || {
            sqlx::query(statement)
                .bind(token)
                .bind(now_ms)
                .bind(i64::from(limit))
                .bind(&self.holder)
                .bind(until_ms)
        };
        let mut rows = Vec::new();
        for row in settled!(self.connections.try_fetch(lease()))? {
            rows.push((row.try_get::<i64, _>("due_ms")?, leased_at(&row)?));
        }
        // RETURNING has no order of its own.
        rows.sort_by_key(|(due_ms, image)| (*due_ms, image.id));
        Ok(rows.into_iter().map(|(_, image)| image).collect())
    }

    async fn renew(&self, token: &str, until_ms: i64) -> Result<(), CatalogError> {
        self.connections.execute(sqlx::query(RENEW).bind(token).bind(until_ms)).await.map(drop)
    }

    async fn release(&self, token: &str) -> Result<u64, CatalogError> {
        let token = token.to_owned();
        settled!(self.make_due(RELEASE, |statement| statement.bind(token.clone())))
    }

    async fn reclaim_expired(&self, now_ms: i64) -> Result<u64, CatalogError> {
        fold_if_due(&self.connections).await;
        settled!(self.make_due(FREE_EXPIRED, |statement| statement.bind(now_ms).bind(now_ms)))
    }

    async fn reclaim_own(&self, now_ms: i64) -> Result<u64, CatalogError> {
        let holder = self.holder.clone();
        settled!(self.make_due(FREE_OWN, |statement| statement.bind(holder.clone()).bind(now_ms)))
    }

    async fn complete(
        &self,
        model: &str,
        token: &str,
        done: &[CompletedImage],
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        let indexed = settled!(self.try_complete(model, token, done, now_ms))?;
        fold_if_due(&self.connections).await;
        Ok(indexed)
    }

    async fn fail(
        &self,
        token: &str,
        image_id: i64,
        failure: &Failure,
        retry_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        settled!(self.try_fail(token, image_id, failure, retry_ms, now_ms))
    }

    async fn skip(
        &self,
        token: &str,
        image_id: i64,
        what: &str,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        settled!(self.try_skip(token, image_id, what, now_ms))
    }

    async fn defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), CatalogError> {
        settled!(self.try_defer(token, image_id, fingerprint, due_ms))
    }

    async fn gone(&self, token: &str, image_id: i64, now_ms: i64) -> Result<(), CatalogError> {
        settled!(self.try_gone(token, image_id, now_ms))
    }

    async fn next_due_ms(&self) -> Result<Option<i64>, CatalogError> {
        Ok(self.connections.fetch_one(sqlx::query(NEXT_DUE)).await?.try_get("due")?)
    }

    async fn awaiting(&self) -> Result<u64, CatalogError> {
        number_at(&self.connections.fetch_one(sqlx::query(AWAITING)).await?, "images")
    }

    async fn retry(&self, names: Option<&[ImageName]>) -> Result<u64, CatalogError> {
        match names {
            Some(names) => {
                let names = name_list(names);
                settled!(self.make_due(RETRY, |statement| statement.bind(names.clone())))
            }
            None => settled!(self.make_due(RETRY_ALL, |statement| statement)),
        }
    }
}

const _: () = assert!(SUSPECT_INTERRUPTIONS == 3, "the statements and indexes above say 3");
