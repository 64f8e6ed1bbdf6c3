//! Facts of pictures: written with the rows that they complete or by the pass over headers, read by lists, filters and names.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::arguments::{hash_list, name_list, optional_text};
use super::connections::{Write, settled};
use super::failure::Failed;
use super::{PostgresCatalog, words};
use crate::catalog::rows::{fingerprint_at, hash_at, image_at, name_at, number_at};
use crate::catalog::{
    CatalogError, ContentFacts, FacetChanges, Facts, Header, ImageFacets, ImageRow, ImageTaken,
    NamedImage, ReadHeader, UnreadImage,
};
use crate::types::{ContentHash, ImageName};

/// Changes that get their numbers in one transaction.
const NUMBERED_MAX: i64 = 20_000;

/// What answers searches.
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

const WITHOUT_FACTS: &str = "SELECT id, name, size_bytes, version, modified_ms, content_hash FROM images
    WHERE source = (SELECT key FROM sources WHERE id = $1) AND taken_from IS NULL AND format IS NOT NULL
        AND missing_since_ms IS NULL AND NOT outdated AND id > $2 ORDER BY id LIMIT $3";
const STILL_OF: &str = "SELECT id, name, modified_ms FROM images
    JOIN unnest($1::bigint[], $2::bytea[]) AS read (image, hash) ON id = read.image AND content_hash = read.hash
    WHERE NOT outdated ORDER BY id FOR UPDATE OF images";
const NOTE_CONTENTS: &str = "INSERT INTO content_facts (content_hash, camera, lens, latitude, longitude, altitude_m, grey)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::float8[], $5::float8[], $6::float8[], $7::boolean[])
    ON CONFLICT (content_hash) DO UPDATE SET camera = excluded.camera, lens = excluded.lens, latitude = excluded.latitude,
        longitude = excluded.longitude, altitude_m = excluded.altitude_m, grey = coalesce(excluded.grey, content_facts.grey)";
const NOTE_TAKEN: &str = "UPDATE images SET taken_ms = noted.ms, taken_offset_minutes = noted.offset_minutes, taken_from = noted.origin
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS noted (image, ms, offset_minutes, origin)
    WHERE id = noted.image";
const NOTE_WORDS: &str = "INSERT INTO image_words (image, words)
    SELECT image, words::tsvector FROM unnest($1::bigint[], $2::text[]) AS noted (image, words)
    ON CONFLICT (image) DO UPDATE SET words = excluded.words";
/// A trigger notes changes of images; what changed may be the facts of their content alone.
const NOTE_CHANGES: &str =
    "INSERT INTO image_changes (image) SELECT unnest($1::bigint[]) AS image ORDER BY image
    ON CONFLICT (image) DO UPDATE SET change = NULL";
const FORGET_CONTENTS: &str = "DELETE FROM content_facts WHERE content_hash = ANY ($1)
    AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = content_facts.content_hash)";
const CONTENT_FACTS: &str = "SELECT * FROM content_facts WHERE content_hash = $1";
const UNNUMBERED: &str =
    "SELECT EXISTS (SELECT 1 FROM image_changes WHERE change IS NULL) AS waiting";
/// One at a time: whoever has it next sees all numbers that were given before.
const LOCK_NUMBERS: &str = "SELECT pg_advisory_xact_lock(hashtext('image_search.image_changes'))";
const NUMBER: &str = "WITH waiting AS MATERIALIZED (
        SELECT image FROM image_changes WHERE change IS NULL ORDER BY image LIMIT $1 FOR UPDATE SKIP LOCKED),
    numbered AS MATERIALIZED (
        SELECT image, nextval('image_change_numbers') AS change FROM (SELECT image FROM waiting ORDER BY image) AS ordered)
    UPDATE image_changes SET change = numbered.change FROM numbered WHERE image_changes.image = numbered.image";
const FACETS_SINCE: &str = concat!(
    "SELECT change, image, ", answering!(), " AS is_there, ", facets!(), "
    FROM image_changes LEFT JOIN images ON images.id = image LEFT JOIN sources ON sources.key = images.source
        LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
    WHERE change > $1 ORDER BY change LIMIT $2"
);
const FACETS_OF: &str = concat!(
    "SELECT ",
    facets!(),
    "
    FROM unnest($1::bytea[]) AS asked (hash) JOIN images ON images.content_hash = asked.hash
        JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
        LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
    WHERE ",
    answering!(),
    " ORDER BY images.name"
);
const FACETS_NAMED: &str = concat!(
    "SELECT ",
    facets!(),
    "
    FROM images JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
        LEFT JOIN content_facts ON content_facts.content_hash = images.content_hash
    WHERE name = ANY ($1) AND ",
    answering!()
);
const BY_ID: &str = concat!(
    "SELECT images.*, sources.id AS source_id FROM images
        JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
    WHERE images.id = ANY ($1) AND ",
    answering!()
);
const WITH_WORDS: &str =
    concat!(
    "SELECT images.name, content_hash FROM image_words JOIN images ON images.id = image_words.image
        JOIN sources ON sources.key = images.source AND unconfigured_since_ms IS NULL
    WHERE words @@ $1::tsquery AND ", answering!(), " LIMIT $2"
);

/// What was found out about an image.
pub(super) struct NotedHeader<'a> {
    pub(super) image_id: i64,
    pub(super) name: &'a ImageName,
    pub(super) modified_ms: i64,
    pub(super) hash: &'a ContentHash,
    pub(super) header: &'a Header,
}

/// Notes what is known of images from now on.
pub(super) async fn note_headers(
    write: &mut Write<'_>,
    noted: &[NotedHeader<'_>],
) -> Result<(), Failed> {
    if noted.is_empty() {
        return Ok(());
    }
    note_contents(write, noted).await?;
    let images: Vec<i64> = noted.iter().map(|image| image.image_id).collect();
    let best: Vec<ImageTaken> = noted
        .iter()
        .map(|image| {
            let taken = image.header.facts.taken.as_ref();
            ImageTaken::best(taken, image.name, image.modified_ms)
        })
        .collect();
    let offsets: Vec<Option<i64>> =
        best.iter().map(|taken| taken.offset_minutes.map(i64::from)).collect();
    let origins: Vec<Option<String>> = best.iter().map(|taken| taken.from.clone()).collect();
    let taken = sqlx::query(NOTE_TAKEN)
        .bind(&images)
        .bind(best.iter().map(|taken| taken.ms).collect::<Vec<_>>())
        .bind(offsets)
        .bind(origins);
    write.execute(taken).await?;
    let vectors: Vec<String> = noted
        .iter()
        .map(|image| words::vector(image.name.as_str(), image.header.camera().as_deref()))
        .collect();
    write.execute(sqlx::query(NOTE_WORDS).bind(&images).bind(vectors)).await?;
    write.execute(sqlx::query(NOTE_CHANGES).bind(&images)).await.map(drop)
}

async fn note_contents(write: &mut Write<'_>, noted: &[NotedHeader<'_>]) -> Result<(), Failed> {
    // Two images of one content are one row; in order, as all rows of contents are locked.
    let contents: BTreeMap<&ContentHash, &Header> =
        noted.iter().map(|image| (image.hash, image.header)).collect();
    let hashes: Vec<Vec<u8>> = contents.keys().map(|hash| hash.as_bytes().to_vec()).collect();
    let texts = |of: fn(&Header) -> Option<String>| -> Vec<Option<String>> {
        contents.values().map(|header| optional_text(of(header).as_deref())).collect()
    };
    let numbers = |of: fn(&clip::Gps) -> Option<f64>| -> Vec<Option<f64>> {
        contents.values().map(|header| header.facts.gps.as_ref().and_then(of)).collect()
    };
    let grey: Vec<Option<bool>> = contents.values().map(|header| header.is_grey).collect();
    let note = sqlx::query(NOTE_CONTENTS)
        .bind(hashes)
        .bind(texts(Header::camera))
        .bind(texts(|header| header.facts.lens.clone()))
        .bind(numbers(|gps| Some(gps.latitude)))
        .bind(numbers(|gps| Some(gps.longitude)))
        .bind(numbers(|gps| gps.altitude_m))
        .bind(grey);
    write.execute(note).await.map(drop)
}

/// Forgets the facts of those contents that have no image any more.
pub(super) async fn forget_contents(
    write: &mut Write<'_>,
    hashes: &[Vec<u8>],
) -> Result<(), Failed> {
    write.execute(sqlx::query(FORGET_CONTENTS).bind(hashes)).await.map(drop)
}

fn facets_at(row: &PgRow) -> Result<ImageFacets, CatalogError> {
    let degrees = |column: &str| row.try_get::<Option<f64>, _>(column);
    Ok(ImageFacets {
        image_id: row.try_get("id")?,
        hash: hash_at(row)?,
        source: row.try_get("source_id")?,
        name: name_at(row)?,
        taken_ms: row.try_get::<Option<i64>, _>("taken_ms")?.unwrap_or_default(),
        added_ms: row.try_get("discovered_ms")?,
        format: row.try_get("format")?,
        width: number_at(row, "width")?,
        height: number_at(row, "height")?,
        camera: row.try_get("camera")?,
        place: degrees("latitude")?.zip(degrees("longitude")?),
    })
}

impl PostgresCatalog {
    async fn try_note_headers(&self, read: &[ReadHeader]) -> Result<u64, Failed> {
        let ids: Vec<i64> = read.iter().map(|read| read.image_id).collect();
        let hashes: Vec<Vec<u8>> = read.iter().map(|read| read.hash.as_bytes().to_vec()).collect();
        let by_id: HashMap<i64, &ReadHeader> =
            read.iter().map(|read| (read.image_id, read)).collect();
        let mut write = self.connections.begin().await?;
        let rows = write.fetch(sqlx::query(STILL_OF).bind(ids).bind(hashes)).await?;
        let mut still: BTreeMap<i64, (ImageName, i64)> = BTreeMap::new();
        for row in &rows {
            still.insert(row.try_get("id")?, (name_at(row)?, row.try_get("modified_ms")?));
        }
        let noted = still.iter().filter_map(|(image_id, (name, modified_ms))| {
            let read = by_id.get(image_id)?;
            Some(NotedHeader {
                image_id: *image_id,
                name,
                modified_ms: *modified_ms,
                hash: &read.hash,
                header: &read.header,
            })
        });
        note_headers(&mut write, &noted.collect::<Vec<_>>()).await?;
        write.commit().await?;
        Ok(still.len() as u64)
    }

    /// Gives numbers to changes that have none yet. Returns how many there were.
    async fn try_number_changes(&self) -> Result<u64, Failed> {
        let mut write = self.connections.begin().await?;
        write.fetch(sqlx::query(LOCK_NUMBERS)).await?;
        let numbered = write.execute(sqlx::query(NUMBER).bind(NUMBERED_MAX)).await?;
        write.commit().await?;
        Ok(numbered)
    }
}

#[async_trait]
impl Facts for PostgresCatalog {
    async fn without_facts(
        &self,
        source: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<UnreadImage>, CatalogError> {
        let page = sqlx::query(WITHOUT_FACTS).bind(source).bind(after).bind(i64::from(limit));
        let unread = |row: &PgRow| {
            Ok(UnreadImage {
                id: row.try_get("id")?,
                name: name_at(row)?,
                fingerprint: fingerprint_at(row)?,
                hash: hash_at(row)?,
            })
        };
        self.connections.fetch(page).await?.iter().map(unread).collect()
    }

    async fn note_headers(&self, read: &[ReadHeader]) -> Result<u64, CatalogError> {
        settled!(self.try_note_headers(read))
    }

    async fn content_facts(
        &self,
        hash: &ContentHash,
    ) -> Result<Option<ContentFacts>, CatalogError> {
        let asked = sqlx::query(CONTENT_FACTS).bind(hash.as_bytes().as_slice());
        let Some(row) = self.connections.fetch(asked).await?.pop() else { return Ok(None) };
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
        let waiting = self.connections.fetch_one(sqlx::query(UNNUMBERED)).await?;
        let mut is_behind = false;
        if waiting.try_get("waiting")? {
            is_behind = settled!(self.try_number_changes())? == NUMBERED_MAX as u64;
        }
        let sources = self.configured().await?.into_iter().map(|(_, id)| id).collect();
        let page = sqlx::query(FACETS_SINCE).bind(after).bind(i64::from(limit));
        let rows = self.connections.fetch(page).await?;
        let more = is_behind || rows.len() == limit as usize;
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
        let asked = sqlx::query(FACETS_OF).bind(hash_list(hashes));
        let mut contents: HashMap<ContentHash, Vec<ImageFacets>> = HashMap::new();
        for row in &self.connections.fetch(asked).await? {
            let facets = facets_at(row)?;
            contents.entry(facets.hash).or_default().push(facets);
        }
        Ok(contents)
    }

    async fn facets_named(&self, names: &[ImageName]) -> Result<Vec<ImageFacets>, CatalogError> {
        let named = sqlx::query(FACETS_NAMED).bind(name_list(names));
        self.connections.fetch(named).await?.iter().map(facets_at).collect()
    }

    async fn images_by_id(&self, ids: &[i64]) -> Result<HashMap<i64, ImageRow>, CatalogError> {
        let rows = self.connections.fetch(sqlx::query(BY_ID).bind(ids)).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, image_at(row)?))).collect()
    }

    async fn images_with_words(
        &self,
        words: &[String],
        prefix: bool,
        limit: u32,
    ) -> Result<Vec<NamedImage>, CatalogError> {
        let Some(asked) = words::query(words, prefix) else { return Ok(Vec::new()) };
        let found = sqlx::query(WITH_WORDS).bind(asked).bind(i64::from(limit));
        let named = |row: &PgRow| Ok(NamedImage { name: name_at(row)?, hash: hash_at(row)? });
        self.connections.fetch(found).await?.iter().map(named).collect()
    }
}
