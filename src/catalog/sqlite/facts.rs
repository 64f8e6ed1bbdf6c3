//! Facts of pictures: written with the row that they complete or by the pass over headers, read by lists, filters and names.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteCatalog;
use super::arguments::{hex_list, name_list};
use super::statements;
use super::writer::{Purpose, Write};
use crate::catalog::rows::{fingerprint_at, hash_at, image_at, name_at};
use crate::catalog::{
    CatalogError, ContentFacts, FacetChanges, Facts, Header, ImageFacets, ImageRow, ImageTaken,
    NamedImage, ReadHeader, UnreadImage,
};
use crate::types::{ContentHash, ImageName};

/// What answers searches; written out, since SQLite compares the words with those of an index.
macro_rules! answering {
    () => {
        "images.format IS NOT NULL AND images.missing_since_ms IS NULL"
    };
}
macro_rules! facets {
    () => {
        "images.id, images.content_hash, images.name, taken_ms, discovered_ms, format, width, height, camera, latitude, longitude,
            sources.id AS source_id"
    };
}

statements! {
    WITHOUT_FACTS = "SELECT id, name, size_bytes, version, modified_ms, content_hash FROM images
        WHERE source = (SELECT key FROM sources WHERE id = ?1) AND taken_from IS NULL AND format IS NOT NULL
            AND missing_since_ms IS NULL AND outdated = 0 AND id > ?2 ORDER BY id LIMIT ?3";
    STILL_OF = "SELECT name, modified_ms FROM images WHERE id = ?1 AND content_hash = ?2 AND outdated = 0";
    NOTE_CONTENT = "INSERT INTO content_facts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (content_hash) DO UPDATE SET camera = ?2, lens = ?3, latitude = ?4, longitude = ?5, altitude_m = ?6,
            grey = coalesce(?7, grey)";
    NOTE_TAKEN = "UPDATE images SET taken_ms = ?2, taken_offset_minutes = ?3, taken_from = ?4 WHERE id = ?1";
    NOTE_WORDS = "INSERT OR REPLACE INTO image_words (rowid, name, camera) VALUES (?1, ?2, ?3)";
    FORGET_CONTENTS = "DELETE FROM content_facts WHERE content_hash IN (SELECT unhex(value) FROM json_each(?1))
        AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = content_facts.content_hash)";
    CONTENT_FACTS = "SELECT * FROM content_facts WHERE content_hash = ?1";
    FACETS_SINCE = concat!("SELECT change, image, ", answering!(), " AS is_there, ", facets!(), "
        FROM image_changes LEFT JOIN images ON images.id = image LEFT JOIN sources ON sources.key = images.source
            LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
        WHERE change > ?1 ORDER BY change LIMIT ?2");
    FACETS_OF = concat!("SELECT ", facets!(), "
        FROM json_each(?1) CROSS JOIN images INDEXED BY images_by_hash ON images.content_hash = unhex(json_each.value)
            JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
            LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
        WHERE ", answering!(), " ORDER BY images.name");
    FACETS_NAMED = concat!("SELECT ", facets!(), "
        FROM json_each(?1) CROSS JOIN images ON images.name = json_each.value
            JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
            LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
        WHERE ", answering!());
    BY_ID = concat!("SELECT images.*, sources.id AS source_id FROM json_each(?1) CROSS JOIN images ON images.id = json_each.value
            JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
        WHERE ", answering!());
    WITH_WORDS = concat!("SELECT images.name, content_hash FROM image_words CROSS JOIN images ON images.id = image_words.rowid
            JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
        WHERE image_words MATCH ?1 AND ", answering!(), " LIMIT ?2");
}

/// Notes what is known of an image from now on.
pub(super) async fn note_header(
    write: &mut Write<'_>,
    image_id: i64,
    (name, modified_ms): (&ImageName, i64),
    hash: &ContentHash,
    header: &Header,
) -> Result<(), CatalogError> {
    let (facts, camera) = (&header.facts, header.camera());
    let content = sqlx::query(NOTE_CONTENT)
        .bind(hash.as_bytes().as_slice())
        .bind(&camera)
        .bind(&facts.lens)
        .bind(facts.gps.map(|gps| gps.latitude))
        .bind(facts.gps.map(|gps| gps.longitude))
        .bind(facts.gps.and_then(|gps| gps.altitude_m))
        .bind(header.is_grey);
    write.execute(content).await?;
    let best = ImageTaken::best(facts.taken.as_ref(), name, modified_ms);
    let taken = sqlx::query(NOTE_TAKEN)
        .bind(image_id)
        .bind(best.ms)
        .bind(best.offset_minutes)
        .bind(best.from);
    write.execute(taken).await?;
    let words = sqlx::query(NOTE_WORDS).bind(image_id).bind(name.as_str()).bind(&camera);
    write.execute(words).await.map(drop)
}

/// Forgets the facts of those contents that have no image any more.
pub(super) async fn forget_contents(
    write: &mut Write<'_>,
    hashes: &[ContentHash],
) -> Result<(), CatalogError> {
    write.execute(sqlx::query(FORGET_CONTENTS).bind(hex_list(hashes))).await.map(drop)
}

fn facets_at(row: &SqliteRow) -> Result<ImageFacets, CatalogError> {
    let degrees = |column: &str| row.try_get::<Option<f64>, _>(column);
    Ok(ImageFacets {
        image_id: row.try_get("id")?,
        hash: hash_at(row)?,
        source: row.try_get("source_id")?,
        name: name_at(row)?,
        taken_ms: row.try_get::<Option<i64>, _>("taken_ms")?.unwrap_or_default(),
        added_ms: row.try_get("discovered_ms")?,
        format: row.try_get("format")?,
        width: row.try_get("width")?,
        height: row.try_get("height")?,
        camera: row.try_get("camera")?,
        place: degrees("latitude")?.zip(degrees("longitude")?),
    })
}

/// Every word quoted, so that nothing in it is an operator.
fn expression(words: &[String], prefix: bool) -> String {
    let quoted = words.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\"")));
    let all = quoted.collect::<Vec<_>>().join(" AND ");
    if prefix { all + " *" } else { all }
}

#[async_trait]
impl Facts for SqliteCatalog {
    async fn without_facts(
        &self,
        source: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<UnreadImage>, CatalogError> {
        let page = sqlx::query(WITHOUT_FACTS).bind(source).bind(after).bind(limit);
        let unread = |row: &SqliteRow| {
            Ok(UnreadImage {
                id: row.try_get("id")?,
                name: name_at(row)?,
                fingerprint: fingerprint_at(row)?,
                hash: hash_at(row)?,
            })
        };
        page.fetch_all(&self.readers).await?.iter().map(unread).collect()
    }

    async fn note_headers(&self, read: &[ReadHeader]) -> Result<u64, CatalogError> {
        let mut write = self.writer.begin(Purpose::Settle).await?;
        let mut noted = 0;
        for ReadHeader { image_id, hash, header } in read {
            let still = sqlx::query(STILL_OF).bind(image_id).bind(hash.as_bytes().as_slice());
            let Some(row) = write.fetch(still).await?.pop() else { continue };
            let (name, modified_ms) = (name_at(&row)?, row.try_get("modified_ms")?);
            note_header(&mut write, *image_id, (&name, modified_ms), hash, header).await?;
            noted += 1;
        }
        write.commit().await?;
        Ok(noted)
    }

    async fn content_facts(
        &self,
        hash: &ContentHash,
    ) -> Result<Option<ContentFacts>, CatalogError> {
        let query = sqlx::query(CONTENT_FACTS).bind(hash.as_bytes().as_slice());
        let Some(row) = query.fetch_optional(&self.readers).await? else { return Ok(None) };
        let degrees = |column: &str| row.try_get::<Option<f64>, _>(column);
        let altitude_m = degrees("altitude_m")?;
        let place = degrees("latitude")?.zip(degrees("longitude")?);
        Ok(Some(ContentFacts {
            camera: row.try_get("camera")?,
            lens: row.try_get("lens")?,
            gps: place.map(|(latitude, longitude)| clip::Gps { latitude, longitude, altitude_m }),
            is_grey: row.try_get("grey")?,
        }))
    }

    async fn facets_since(&self, after: i64, limit: u32) -> Result<FacetChanges, CatalogError> {
        let sources = self.configured().await?.into_iter().map(|(_, id)| id).collect();
        let rows =
            sqlx::query(FACETS_SINCE).bind(after).bind(limit).fetch_all(&self.readers).await?;
        let more = rows.len() == limit as usize;
        let mut changes = FacetChanges { last: after, more, sources, ..FacetChanges::default() };
        for row in &rows {
            changes.last = row.try_get("change")?;
            if row.try_get::<Option<bool>, _>("is_there")? == Some(true) {
                changes.now.push(facets_at(row)?);
            } else {
                changes.gone.push(row.try_get("image")?);
            }
        }
        Ok(changes)
    }

    async fn facets_of(
        &self,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Vec<ImageFacets>>, CatalogError> {
        // As a set: a hash asked for twice must not double its names.
        let hashes: Vec<ContentHash> =
            hashes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let rows = sqlx::query(FACETS_OF).bind(hex_list(&hashes)).fetch_all(&self.readers).await?;
        let mut contents: HashMap<ContentHash, Vec<ImageFacets>> = HashMap::new();
        for row in &rows {
            let facets = facets_at(row)?;
            contents.entry(facets.hash).or_default().push(facets);
        }
        Ok(contents)
    }

    async fn facets_named(&self, names: &[ImageName]) -> Result<Vec<ImageFacets>, CatalogError> {
        let named = sqlx::query(FACETS_NAMED).bind(name_list(names));
        named.fetch_all(&self.readers).await?.iter().map(facets_at).collect()
    }

    async fn images_by_id(&self, ids: &[i64]) -> Result<HashMap<i64, ImageRow>, CatalogError> {
        let rows = sqlx::query(BY_ID).bind(json!(ids).to_string()).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, image_at(row)?))).collect()
    }

    async fn images_with_words(
        &self,
        words: &[String],
        prefix: bool,
        limit: u32,
    ) -> Result<Vec<NamedImage>, CatalogError> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query(WITH_WORDS).bind(expression(words, prefix)).bind(limit);
        let named = |row: &SqliteRow| Ok(NamedImage { name: name_at(row)?, hash: hash_at(row)? });
        query.fetch_all(&self.readers).await?.iter().map(named).collect()
    }
}
