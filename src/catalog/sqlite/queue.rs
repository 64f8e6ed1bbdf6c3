//! The images as a queue. Due images of each source lie in an index in the order in which they are leased; leased ones are
//! not in it, so a lease costs the same however long the queue is. A lease is a row of its own: prolonging it is one update.

use async_trait::async_trait;
use sqlx::Row;

use super::SqliteCatalog;
use super::arguments::name_list;
use super::facts::note_header;
use super::leases::{end_empty_lease, end_lease, note_lease};
use super::processes::check_model;
use super::statements;
use super::vectors::note_orphans;
use super::writer::{Purpose, Write};
use crate::catalog::rows::{leased_at, name_at, optional_hash_at};
use crate::catalog::{
    CatalogError, CompletedImage, Failure, LeasedImage, Queue, SUSPECT_INTERRUPTIONS,
};
use crate::types::{ContentHash, Fingerprint, ImageName};

/// What an index on the queue is about; written out, since SQLite compares the words.
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
            "UPDATE images SET lease_token = ?1 WHERE id IN (
                SELECT images.id FROM sources CROSS JOIN images ON images.source = sources.key
                WHERE ", workable!(), " AND ", waiting!(), " AND ", $interruptions, " AND due_ms <= ?2
                ORDER BY sources.key, images.due_ms, images.id LIMIT ?3)
            RETURNING *, (SELECT sources.id FROM sources WHERE key = images.source) AS source_id"
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
macro_rules! free {
    ($leases:literal) => {
        concat!(
            "UPDATE images SET lease_token = NULL, interruptions = interruptions + 1, due_ms = max(due_ms, ?2)
            WHERE lease_token IN (SELECT token FROM leases WHERE ", $leases, ")"
        )
    };
}

// The numbers are SUSPECT_INTERRUPTIONS; the indexes name it too.
statements! {
    LEASE = claim!("interruptions < 3");
    LEASE_SUSPECT = claim!("interruptions >= 3");
    RENEW = "UPDATE leases SET until_ms = ?2 WHERE token = ?1";
    RELEASE = "UPDATE images SET lease_token = NULL WHERE lease_token = ?1";
    FREE_EXPIRED = free!("until_ms < ?1");
    END_EXPIRED = "DELETE FROM leases WHERE until_ms < ?1";
    /// What is freed queues behind the others, so that what may have killed us is not first again.
    FREE_OWN = free!("holder = ?1");
    END_OWN = "DELETE FROM leases WHERE holder = ?1";
    HELD = "SELECT content_hash, outdated, name, modified_ms FROM images WHERE id = ?1 AND lease_token = ?2 AND state = 'pending'";
    PUT_BACK = "UPDATE images SET lease_token = NULL WHERE id = ?1";
    CONFIRM_VECTOR = "UPDATE vectors SET stored = 1 WHERE model = ?1 AND content_hash = ?2 AND deleting_token IS NULL";
    COUNT_ON_VECTOR = "UPDATE vectors SET orphaned_ms = NULL
        WHERE model IN (SELECT model FROM vector_counts) AND content_hash = ?1 AND stored = 1";
    COMPLETE = "UPDATE images SET state = 'indexed', content_hash = ?2, format = ?3, width = ?4, height = ?5, indexed_ms = ?6,
            outdated = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL, lease_token = NULL
        WHERE id = ?1";
    /// Whoever completes for another model than the last makes it unknown which images have vectors of either.
    DOUBT_COMPLETENESS = "UPDATE vectors_complete_for SET model = NULL WHERE model <> ?1";
    FAIL = "UPDATE images SET state = iif(?2 IS NULL, 'failed', 'pending'), due_ms = coalesce(?2, 0), attempts = attempts + 1,
            failure_code = ?3, failure = ?4, lease_token = NULL
        WHERE id = ?1";
    SKIP = "UPDATE images SET state = 'skipped', due_ms = 0, failure_code = NULL, failure = ?2, lease_token = NULL
        WHERE id = ?1";
    DROP_CONTENT = "UPDATE images SET content_hash = NULL, format = NULL, width = NULL, height = NULL, outdated = 0
        WHERE id = ?1";
    DEFER = "UPDATE images SET size_bytes = ?3, version = ?4, modified_ms = ?5, due_ms = ?6, lease_token = NULL
        WHERE id = ?1 AND lease_token = ?2 AND state = 'pending'";
    FORGET_UNREAD = "DELETE FROM images WHERE id = ?1 AND content_hash IS NULL";
    MARK_MISSING = "UPDATE images SET missing_since_ms = ?2, lease_token = NULL WHERE id = ?1";
    NEXT_DUE = concat!(
        "SELECT min(due) AS due FROM (
            SELECT ", first_due!("interruptions < 3"), " AS due FROM sources WHERE ", workable!(), "
            UNION ALL SELECT ", first_due!("interruptions >= 3"), " FROM sources WHERE ", workable!(), "
            UNION ALL SELECT min(until_ms) FROM leases WHERE token NOT LIKE 'work/%')");
    AWAITING = "SELECT coalesce(sum(images), 0) AS images FROM image_counts JOIN sources ON sources.key = image_counts.source
        WHERE unconfigured_since_ms IS NULL AND state = 'pending' AND missing = 0 AND answers = 1";
    RETRY_ALL = "UPDATE images SET state = 'pending', due_ms = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL
        WHERE source IN (SELECT key FROM sources) AND state = 'failed' AND missing_since_ms IS NULL";
    RETRY = "UPDATE images SET state = 'pending', due_ms = 0, attempts = 0, interruptions = 0, failure_code = NULL, failure = NULL
        WHERE name IN (SELECT value FROM json_each(?1)) AND state = 'failed' AND missing_since_ms IS NULL";
}

/// An image under a lease.
struct Held {
    hash: Option<ContentHash>,
    outdated: bool,
    name: ImageName,
    modified_ms: i64,
}

/// `None` if the token does not hold it (any more).
async fn held(
    write: &mut Write<'_>,
    token: &str,
    image_id: i64,
) -> Result<Option<Held>, CatalogError> {
    let rows = write.fetch(sqlx::query(HELD).bind(image_id).bind(token)).await?;
    rows.first()
        .map(|row| {
            Ok(Held {
                hash: optional_hash_at(row)?,
                outdated: row.try_get("outdated")?,
                name: name_at(row)?,
                modified_ms: row.try_get("modified_ms")?,
            })
        })
        .transpose()
}

/// The image was taken from the lease, which may have held nothing else.
async fn end_what_was_taken(mut write: Write<'_>, token: &str) -> Result<(), CatalogError> {
    end_empty_lease(&mut write, token).await?;
    write.commit().await
}

#[async_trait]
impl Queue for SqliteCatalog {
    async fn lease(
        &self,
        limit: u32,
        token: &str,
        now_ms: i64,
        until_ms: i64,
        suspects: bool,
    ) -> Result<Vec<LeasedImage>, CatalogError> {
        let (statement, limit) = if suspects { (LEASE_SUSPECT, 1) } else { (LEASE, limit) };
        let mut write = self.writer.begin(Purpose::Grow).await?;
        let lease = sqlx::query(statement).bind(token).bind(now_ms).bind(limit);
        let mut rows = Vec::new();
        for row in write.fetch(lease).await? {
            rows.push((row.try_get::<i64, _>("due_ms")?, leased_at(&row)?));
        }
        if !rows.is_empty() {
            note_lease(&mut write, token, &self.holder, until_ms).await?;
        }
        write.commit().await?;
        // RETURNING has no order of its own.
        rows.sort_by_key(|(due_ms, image)| (*due_ms, image.id));
        Ok(rows.into_iter().map(|(_, image)| image).collect())
    }

    async fn renew(&self, token: &str, until_ms: i64) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        write.execute(sqlx::query(RENEW).bind(token).bind(until_ms)).await?;
        write.commit().await
    }

    async fn release(&self, token: &str) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let images = write.execute(sqlx::query(RELEASE).bind(token)).await?;
        end_lease(&mut write, token).await?;
        write.commit().await?;
        Ok(images)
    }

    async fn reclaim_expired(&self, now_ms: i64) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let images = write.execute(sqlx::query(FREE_EXPIRED).bind(now_ms).bind(now_ms)).await?;
        write.execute(sqlx::query(END_EXPIRED).bind(now_ms)).await?;
        write.commit().await?;
        Ok(images)
    }

    async fn reclaim_own(&self, now_ms: i64) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let images = write.execute(sqlx::query(FREE_OWN).bind(&self.holder).bind(now_ms)).await?;
        write.execute(sqlx::query(END_OWN).bind(&self.holder)).await?;
        write.commit().await?;
        Ok(images)
    }

    async fn complete(
        &self,
        model: &str,
        token: &str,
        done: &[CompletedImage],
        now_ms: i64,
    ) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        check_model(&mut write, model).await?;
        write.execute(sqlx::query(DOUBT_COMPLETENESS).bind(model)).await?;
        let (mut indexed, mut replaced) = (0, Vec::new());
        for image in done {
            let hash = image.hash.as_bytes().as_slice();
            let confirm = sqlx::query(CONFIRM_VECTOR).bind(model).bind(hash);
            let confirmed = write.execute(confirm).await? > 0;
            let Some(before) = held(&mut write, token, image.image_id).await? else { continue };
            if !confirmed {
                write.execute(sqlx::query(PUT_BACK).bind(image.image_id)).await?;
                continue;
            }
            let complete = sqlx::query(COMPLETE)
                .bind(image.image_id)
                .bind(hash)
                .bind(&image.facts.format)
                .bind(image.facts.width)
                .bind(image.facts.height)
                .bind(now_ms);
            indexed += write.execute(complete).await?;
            write.execute(sqlx::query(COUNT_ON_VECTOR).bind(hash)).await?;
            let file = (&before.name, before.modified_ms);
            note_header(&mut write, image.image_id, file, &image.hash, &image.header).await?;
            replaced.extend(before.hash.filter(|before| *before != image.hash));
        }
        note_orphans(&mut write, &replaced, now_ms).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await?;
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
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let Some(before) = held(&mut write, token, image_id).await? else {
            return end_what_was_taken(write, token).await;
        };
        let fail = sqlx::query(FAIL)
            .bind(image_id)
            .bind(retry_ms)
            .bind(failure.code.as_str())
            .bind(&failure.reason);
        write.execute(fail).await?;
        // The file was changed to something that is no picture: what it was answers no more.
        if before.outdated && retry_ms.is_none() && failure.code.is_of_content() {
            write.execute(sqlx::query(DROP_CONTENT).bind(image_id)).await?;
            note_orphans(&mut write, before.hash.as_slice(), now_ms).await?;
        }
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn skip(
        &self,
        token: &str,
        image_id: i64,
        what: &str,
        now_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let Some(before) = held(&mut write, token, image_id).await? else {
            return end_what_was_taken(write, token).await;
        };
        write.execute(sqlx::query(SKIP).bind(image_id).bind(what)).await?;
        write.execute(sqlx::query(DROP_CONTENT).bind(image_id)).await?;
        note_orphans(&mut write, before.hash.as_slice(), now_ms).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn defer(
        &self,
        token: &str,
        image_id: i64,
        fingerprint: &Fingerprint,
        due_ms: i64,
    ) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let defer = sqlx::query(DEFER)
            .bind(image_id)
            .bind(token)
            .bind(fingerprint.size_bytes as i64)
            .bind(&fingerprint.version)
            .bind(fingerprint.modified_ms)
            .bind(due_ms);
        write.execute(defer).await?;
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn gone(&self, token: &str, image_id: i64, now_ms: i64) -> Result<(), CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        if held(&mut write, token, image_id).await?.is_none() {
            return end_what_was_taken(write, token).await;
        }
        if write.execute(sqlx::query(FORGET_UNREAD).bind(image_id)).await? == 0 {
            write.execute(sqlx::query(MARK_MISSING).bind(image_id).bind(now_ms)).await?;
        }
        end_empty_lease(&mut write, token).await?;
        write.commit().await
    }

    async fn next_due_ms(&self) -> Result<Option<i64>, CatalogError> {
        Ok(sqlx::query(NEXT_DUE).fetch_one(&self.readers).await?.try_get("due")?)
    }

    async fn awaiting(&self) -> Result<u64, CatalogError> {
        let row = sqlx::query(AWAITING).fetch_one(&self.readers).await?;
        crate::catalog::rows::number_at(&row, "images")
    }

    async fn retry(&self, names: Option<&[ImageName]>) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let retry = match names {
            Some(names) => sqlx::query(RETRY).bind(name_list(names)),
            None => sqlx::query(RETRY_ALL),
        };
        let images = write.execute(retry).await?;
        write.commit().await?;
        Ok(images)
    }
}

const _: () = assert!(SUSPECT_INTERRUPTIONS == 3, "the statements and indexes above say 3");
