//! When, where and with what pictures were taken: read while indexing, read later for what an older version indexed, and shown.

use serde_json::{Value, json};

use crate::harness::{Server, World, picture};

/// A JPEG whose EXIF says what a camera's says.
pub(crate) struct Shot {
    pub(crate) taken: &'static str,
    pub(crate) offset: &'static str,
    pub(crate) make: &'static str,
    pub(crate) model: &'static str,
    /// Whole degrees, north and east.
    pub(crate) place: Option<(u32, u32)>,
    pub(crate) size: (u32, u32),
    /// Makes its content another one.
    pub(crate) shade: u8,
}

impl Default for Shot {
    fn default() -> Self {
        Self {
            taken: "2024:05:06 07:08:09",
            offset: "+02:00",
            make: "Canon",
            model: "Canon EOS R5",
            place: Some((48, 11)),
            size: (48, 32),
            shade: 1,
        }
    }
}

/// An entry of a directory: tag, kind, count, bytes.
type Entry = (u16, u16, u32, Vec<u8>);

fn text(tag: u16, text: &str) -> Entry {
    let bytes = [text.as_bytes(), b"\0"].concat();
    (tag, 2, bytes.len() as u32, bytes)
}

fn number(tag: u16, number: u32) -> Entry {
    (tag, 4, 1, number.to_le_bytes().to_vec())
}

fn degrees(tag: u16, whole: u32) -> Entry {
    let parts = [whole, 1, 0, 1, 0, 1].into_iter().flat_map(u32::to_le_bytes);
    (tag, 5, 3, parts.collect())
}

/// A directory that begins at `at`, with its values behind it.
fn directory(entries: &[Entry], at: usize) -> Vec<u8> {
    let mut table = (entries.len() as u16).to_le_bytes().to_vec();
    let mut values = Vec::new();
    let behind = at + 2 + 12 * entries.len() + 4;
    for (tag, kind, count, bytes) in entries {
        table.extend_from_slice(&tag.to_le_bytes());
        table.extend_from_slice(&kind.to_le_bytes());
        table.extend_from_slice(&count.to_le_bytes());
        if bytes.len() <= 4 {
            let mut short = bytes.clone();
            short.resize(4, 0);
            table.extend_from_slice(&short);
        } else {
            table.extend_from_slice(&((behind + values.len()) as u32).to_le_bytes());
            values.extend_from_slice(bytes);
        }
    }
    table.extend_from_slice(&[0; 4]);
    [table, values].concat()
}

impl Shot {
    pub(crate) fn jpeg(&self) -> Vec<u8> {
        let (width, height) = self.size;
        let pixel = |x: u32, y: u32| image::Rgb([self.shade, (x * 5) as u8, (y * 7) as u8]);
        let picture = image::RgbImage::from_fn(width, height, pixel);
        let mut jpeg = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("a JPEG");
        let jpeg = jpeg.into_inner();
        let exif = [b"Exif\0\0".to_vec(), self.exif()].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
    }

    fn exif(&self) -> Vec<u8> {
        let gps = self.place.map_or_else(Vec::new, |(north, east)| {
            vec![text(1, "N"), degrees(2, north), text(3, "E"), degrees(4, east)]
        });
        let shot =
            [text(0x9003, self.taken), text(0x9011, self.offset), text(0xA434, "RF50mm F1.8")];
        let main = |shot_at: usize, gps_at: usize| {
            let places = [number(0x8769, shot_at as u32), number(0x8825, gps_at as u32)];
            let camera = [text(0x010F, self.make), text(0x0110, self.model)];
            directory(&[camera.as_slice(), &places].concat(), 8)
        };
        let shot_at = 8 + main(0, 0).len();
        let gps_at = shot_at + directory(&shot, shot_at).len();
        let header = [b"II*\0".as_slice(), &8_u32.to_le_bytes()].concat();
        [header, main(shot_at, gps_at), directory(&shot, shot_at), directory(&gps, gps_at)].concat()
    }
}

async fn info(server: &Server, name: &str) -> Value {
    server.get_json(&format!("/api/v1/image-info?image_name={name}")).await
}

#[tokio::test]
async fn cameras_names_and_files_tell_when_a_picture_was_taken_and_lists_go_by_it() {
    let world = World::new();
    world.write("trip/shot.jpg", &Shot::default().jpeg());
    world.write("IMG_20230506_070809.png", &picture(1));
    world.write("just now.png", &picture(2));
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    let shot = info(&server, "trip/shot.jpg").await;
    assert_eq!(shot["taken"], "2024-05-06T07:08:09+02:00");
    assert_eq!(shot["taken_from"], "exif_original");
    assert_eq!((&shot["camera"], &shot["lens"]), (&json!("Canon EOS R5"), &json!("RF50mm F1.8")));
    assert_eq!(shot["gps"], json!({"lat": 48.0, "lon": 11.0}));
    assert_eq!((&shot["folder"], &shot["grey"]), (&json!("trip"), &json!(false)));
    let named = info(&server, "IMG_20230506_070809.png").await;
    assert_eq!(
        (&named["taken"], &named["taken_from"]),
        (&json!("2023-05-06T07:08:09"), &json!("name"))
    );
    assert!(named.get("camera").is_none() && named.get("folder").is_none());
    let file = info(&server, "just now.png").await;
    assert_eq!((&file["taken_from"], &file["taken"]), (&json!("file"), &file["modified"]));
    let list = server.get_json("/api/v1/images?limit=9").await;
    let listed: Vec<_> = list["images"]
        .as_array()
        .expect("images")
        .iter()
        .map(|image| &image["image_name"])
        .collect();
    assert_eq!(listed, ["just now.png", "trip/shot.jpg", "IMG_20230506_070809.png"]);
    assert_eq!(list["images"][1]["taken"], "2024-05-06T07:08:09+02:00");
}

#[tokio::test]
async fn headers_of_what_an_older_version_indexed_are_read_without_embedding_anything() {
    let world = World::new();
    for shade in 0..70 {
        world.write(&format!("{shade}.jpg"), &Shot { shade, ..Shot::default() }.jpeg());
    }
    let server = world.serve().await;
    server.until_counts(70, 0).await;
    assert!(server.terminate().await.success());
    // What the migration leaves of a catalog in which nothing was known of headers.
    let file = format!("sqlite:{}", world.path("data/catalog.db").display());
    let pool = sqlx::SqlitePool::connect(&file).await.expect("opened");
    for forget in
        ["UPDATE images SET taken_ms = modified_ms, taken_from = NULL", "DELETE FROM content_facts"]
    {
        sqlx::query(forget).execute(&pool).await.expect("forgotten");
    }
    pool.close().await;
    let server = world.serve().await;
    server
        .until("all headers are read", async || {
            let found = server
                .search(json!({"text": "x", "limit": 100, "filter": {"camera": "eos r5"}}))
                .await;
            (found["matches"].as_array().expect("matches").len() == 70).then_some(())
        })
        .await;
    let one = info(&server, "69.jpg").await;
    assert_eq!(
        (&one["taken_from"], &one["camera"]),
        (&json!("exif_original"), &json!("Canon EOS R5"))
    );
    let metrics =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("text");
    let indexed =
        metrics.lines().find(|line| line.contains("images_indexed_total")).unwrap_or_default();
    assert!(indexed.ends_with(" 0"), "something was indexed again: {indexed}");
}
