//! Thumbnails that processes share in a bucket: one makes them, others serve them without looking at the picture; a bucket that is
//! away costs nobody a picture; what is forgotten goes there too.

use super::Bucket;
use crate::harness::{Server, World, picture, run};

const PICTURES: u32 = 12;
const WARNING: &str = "thumbnails cannot be read there";

fn name_of(number: u32) -> String {
    format!("{number}.png")
}

/// A process with these pictures, whose thumbnails it shares.
fn world(pictures: &Bucket, thumbnails: &Bucket) -> World {
    pictures
        .world()
        .set("THUMBNAILS__STORE", &format!("s3://{}/small", thumbnails.name))
        .set("INGEST__SCAN_INTERVAL_MS", "300")
        .set("INGEST__SCAN_SHARE_MAX_PERCENT", "100")
        .set("INGEST__ORPHAN_GRACE_MS", "1")
}

async fn thumbnail(server: &Server, number: u32, width: u32) -> (u16, Vec<u8>) {
    let path = format!("/api/v1/images/{}/thumbnail?width={width}", name_of(number));
    let answer = server.get(&path).send().await.expect("an answer");
    (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
}

async fn until_keys(server: &Server, bucket: &Bucket, wanted: impl Fn(&[String]) -> bool) {
    let look = async || wanted(&bucket.keys().await).then_some(());
    server.until("the bucket has the thumbnails that it should have", look).await;
}

async fn hash_of(server: &Server, number: u32) -> String {
    let info = super::info(server, &name_of(number)).await.expect("there");
    info["content_hash"].as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: make test-s3"]
async fn what_one_process_makes_others_serve_and_a_bucket_that_is_away_costs_no_picture() {
    let (pictures, thumbnails) = (Bucket::make().await, Bucket::make().await);
    for number in 0..PICTURES {
        pictures.put(&[format!("photos/{}", name_of(number))], &picture(number)).await;
    }
    let maker = world(&pictures, &thumbnails).serve_alone().await;
    maker.1.until_counts(PICTURES.into(), 0).await;
    let is_early = |key: &&String| key.ends_with("-320.jpg");
    until_keys(&maker.1, &thumbnails, |keys| {
        keys.iter().filter(is_early).count() == PICTURES as usize
    })
    .await;
    let first = format!("small/{}-320.jpg", hash_of(&maker.1, 0).await);
    assert!(thumbnails.keys().await.contains(&first), "it is called otherwise");

    // The other one has seen the pictures too, makes no thumbnails by itself, and can read none of the pictures now.
    let other = world(&pictures, &thumbnails).set("THUMBNAILS__WHILE_INDEXING", "false");
    let other = other.serve_alone().await;
    other.1.until_counts(PICTURES.into(), 0).await;
    pictures.fault(403, "AccessDenied", -1).await;
    for number in 0..PICTURES {
        let (status, jpeg) = thumbnail(&other.1, number, 320).await;
        assert_eq!(status, 200, "{}", other.1.log_text());
        assert_eq!((200, jpeg), thumbnail(&maker.1, number, 320).await, "another thumbnail");
    }
    // From now on it has them itself.
    thumbnails.fault(403, "AccessDenied", -1).await;
    assert_eq!(thumbnail(&other.1, 0, 320).await.0, 200);
    assert_ne!(thumbnail(&other.1, 0, 160).await.0, 200, "nobody has made that one");
    pictures.fault(403, "AccessDenied", 0).await;

    away_and_back(&thumbnails, &other).await;
    forgotten(&pictures, &thumbnails, [&maker.1, &other.1]).await;
    for (world, server) in [maker, other] {
        assert!(server.terminate().await.success());
        drop(world);
    }
}

/// The bucket refuses, and serves again after a while.
async fn away_and_back(thumbnails: &Bucket, (world, server): &(World, Server)) {
    for number in 0..PICTURES {
        assert_eq!(thumbnail(server, number, 160).await.0, 200, "{}", server.log_text());
    }
    let log = server.log_text();
    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
    let before = thumbnails.keys().await.len();
    thumbnails.fault(403, "AccessDenied", 0).await;
    // It is tried again by itself, after a pause: with thumbnails that are made anew meanwhile.
    server
        .until("thumbnails are put there again", async || {
            std::fs::remove_dir_all(world.path("data/thumbnails")).expect("removed");
            for number in 0..PICTURES {
                assert_eq!(thumbnail(server, number, 160).await.0, 200, "{}", server.log_text());
            }
            (thumbnails.keys().await.len() > before).then_some(())
        })
        .await;
}

/// Thumbnails of pictures that are gone go too, all of them.
async fn forgotten(pictures: &Bucket, thumbnails: &Bucket, servers: [&Server; 2]) {
    let hash = hash_of(servers[0], 3).await;
    let of_it = |keys: &[String]| keys.iter().any(|key| key.contains(&hash));
    assert!(of_it(&thumbnails.keys().await), "nothing to forget");
    pictures.remove(&format!("photos/{}", name_of(3))).await;
    for server in servers {
        server.until_counts(u64::from(PICTURES) - 1, 0).await;
    }
    until_keys(servers[0], thumbnails, |keys| !of_it(keys)).await;
    assert!(!thumbnails.keys().await.is_empty(), "more than that went");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: make test-s3"]
async fn a_command_leaves_them_there_and_doctor_says_and_mends_what_is_wrong() {
    let (pictures, thumbnails) = (Bucket::make().await, Bucket::make().await);
    pictures.put(&["photos/0.png".to_owned()], &picture(0)).await;
    let world = world(&pictures, &thumbnails);
    let (indexed, said) = run(&world, "index", &[]);
    assert!(indexed.status.success(), "{said}");
    let ours = thumbnails.keys().await;
    assert!(ours.len() == 1 && ours[0].ends_with("-320.jpg"), "{ours:?}");

    let stray = format!("small/{}-320.jpg", "0".repeat(64));
    let others = ["small/notes.txt".to_owned(), "small/0-320.jpg".to_owned()];
    thumbnails.put(&[std::slice::from_ref(&stray), &others[..]].concat(), b"x").await;
    let (_, said) = run(&world, "doctor", &["--repair"]);
    assert!(said.contains("1 of no known picture were deleted from s3://"), "{said}");
    assert!(said.contains("can be read and written"), "{said}");
    let mut expected = [ours, others.to_vec()].concat();
    expected.sort();
    assert_eq!(thumbnails.keys().await, expected);

    thumbnails.fault(403, "AccessDenied", -1).await;
    let (ill, said) = run(&world, "doctor", &[]);
    assert!(!ill.status.success() && said.contains("allow s3:PutObject"), "{said}");
    let among = world.set("THUMBNAILS__STORE", &format!("s3://{}/photos/small", pictures.name));
    let (refused, said) = run(&among, "index", &[]);
    assert!(!refused.status.success() && said.contains("overlaps with the pictures"), "{said}");
}
