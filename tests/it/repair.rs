//! `doctor --repair`: each way in which files, catalog, vectors and thumbnails can disagree is made to happen, told and
//! mended, and afterwards nothing disagrees and searches find what is there.

use std::path::{Path, PathBuf};

use crate::harness::{World, copy_folder, picture};

const PICTURES: u32 = 12;

fn told(world: &World, command: &str, arguments: &[&str]) -> String {
    let output = tokio::task::block_in_place(|| world.run(command, arguments));
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

/// An indexed folder without a server, and a copy of its vectors from when it had half of the pictures.
fn indexed() -> World {
    let world =
        World::new().set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0");
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let text = told(&world, "index", &[]);
    assert!(text.contains("12 are searchable"), "{text}");
    world
}

fn repair(world: &World, wanted: &str) {
    let text = told(world, "doctor", &["--repair"]);
    assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    let text = told(world, "index", &[]);
    assert!(text.contains("are searchable"), "{text}");
    let text = told(world, "doctor", &["--repair"]);
    assert!(text.contains("nothing disagrees") && text.contains("All is well"), "{text}");
}

fn found(world: &World) -> usize {
    told(world, "search", &["a dog", "--limit", "50"]).matches(".png").count()
}

fn collection(world: &World) -> PathBuf {
    let entries = std::fs::read_dir(world.path("data/vectors")).expect("read");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    folders.into_iter().find(|path| path.join("collection.json").exists()).expect("a collection")
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_are_missing_and_vectors_that_nobody_knows() {
    let world = indexed();
    let (vectors, copy) = (world.path("data/vectors"), world.path("copy"));
    copy_folder(&vectors, &copy);
    for number in 0..3 {
        std::fs::remove_file(world.image(&format!("{number}.png"))).expect("removed");
        world.write(&format!("new{number}.png"), &picture(100 + number));
    }
    told(&world, "index", &[]);
    std::fs::remove_dir_all(&vectors).expect("removed");
    copy_folder(&copy, &vectors);
    repair(&world, "3 vectors are missing, and are made again; 3 vectors of no known picture");
    assert_eq!(found(&world), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_gone_damaged_or_does_not_say_whose_it_is() {
    let world = indexed();
    std::fs::remove_file(collection(&world).join("marker.json")).expect("removed");
    repair(&world, "did not say whose it is");
    std::fs::remove_dir_all(collection(&world)).expect("removed");
    repair(&world, "12 vectors are made again");
    assert_eq!(found(&world), 12);
    let shard = collection(&world).join("shard");
    for entry in walkdir::WalkDir::new(&shard).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() {
            std::fs::write(entry.path(), b"rubbish").expect("written");
        }
    }
    repair(&world, "was damaged and lies in");
    assert_eq!(found(&world), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_file_and_files_without_a_row() {
    let world = indexed();
    for number in 0..4 {
        std::fs::remove_file(world.image(&format!("{number}.png"))).expect("removed");
    }
    world.write("late.png", &picture(77));
    let text = told(&world, "doctor", &["--repair"]);
    assert!(text.contains("4 pictures without a file are hidden"), "{text}");
    assert!(text.contains("1 pictures are new or changed"), "{text}");
    assert_eq!(found(&world), 8, "what has no file is not found");
    told(&world, "index", &[]);
    // Their thumbnails went with them.
    repair(&world, "nothing disagrees");
    assert_eq!(found(&world), 9);
    // A folder that is away is no reason to forget anything.
    std::fs::rename(world.path("images"), world.path("elsewhere")).expect("renamed");
    let text = told(&world, "doctor", &["--repair"]);
    assert!(text.contains("away") && !text.contains("without a file"), "{text}");
    std::fs::rename(world.path("elsewhere"), world.path("images")).expect("renamed");
    repair(&world, "");
    assert_eq!(found(&world), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_of_nothing_and_halves_of_thumbnails() {
    let world = indexed();
    let folder = world.path("data/thumbnails");
    let files = |folder: &Path| {
        let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
        entries
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect::<Vec<_>>()
    };
    let kept = files(&folder);
    assert_eq!(kept.len(), PICTURES as usize, "one for each picture");
    let stranger = folder.join("00").join(format!("{}-320.jpg", "0".repeat(64)));
    std::fs::create_dir_all(stranger.parent().expect("a parent")).expect("made");
    std::fs::copy(&kept[0], &stranger).expect("copied");
    let half = std::fs::read(&kept[1]).expect("read");
    std::fs::write(&kept[1], &half[..half.len() / 2]).expect("written");
    repair(&world, "2 of no known picture, or cut off, were deleted");
    assert_eq!(files(&folder).len(), PICTURES as usize - 1);
    assert!(!stranger.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_and_a_damaged_catalog_are_not_touched() {
    let world = indexed();
    let server = world.serve().await;
    let text = told(&world, "doctor", &["--repair"]);
    assert!(text.contains("stop it for a repair"), "{text}");
    assert!(server.terminate().await.success());
    let catalog = world.path("data/catalog.db");
    let mut bytes = std::fs::read(&catalog).expect("read");
    let end = bytes.len() - 4096;
    bytes[8192..end].fill(0x5a);
    std::fs::write(&catalog, &bytes).expect("written");
    let text = told(&world, "doctor", &["--repair"]);
    assert!(text.contains("image-search restore"), "{text}");
    assert_eq!(std::fs::read(&catalog).expect("read"), bytes);
}
