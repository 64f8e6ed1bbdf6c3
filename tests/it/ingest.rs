//! Adding, changing, moving and deleting pictures, while the program runs and while it is off; and files that are no pictures.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Server, World, picture};

/// All image names, from a search that returns everything.
async fn all_names(server: &Server) -> Vec<String> {
    let mut names = server.names("picture", 200).await;
    names.sort();
    names
}

async fn reasons(server: &Server) -> Vec<(String, String)> {
    let list = server.get_json("/api/v1/failures").await;
    let text = |failure: &Value, key: &str| failure[key].as_str().expect("text").to_owned();
    list["failures"]
        .as_array()
        .expect("failures")
        .iter()
        .map(|failure| (text(failure, "image_name"), text(failure, "code")))
        .collect()
}

#[tokio::test]
async fn pictures_come_change_move_and_go_while_it_runs() {
    let world =
        World::new().set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    world.write("deep/er/b.png", &picture(2));
    server.until_counts(2, 0).await;
    let hash = |info: Value| info["content_hash"].as_str().expect("a hash").to_owned();
    let before = hash(server.get_json("/api/v1/image-info?image_name=a.png").await);
    world.write("a.png", &picture(3));
    server
        .until("a.png has its new content", async || {
            let response =
                server.get("/api/v1/image-info?image_name=a.png").send().await.expect("an answer");
            let info: Value = response.json().await.ok()?;
            info["content_hash"].as_str().filter(|hash| *hash != before).map(drop)
        })
        .await;
    server.until_counts(2, 0).await;
    std::fs::rename(world.image("deep"), world.image("moved")).expect("moved");
    server
        .until("the move is seen", async || {
            (all_names(&server).await == ["a.png", "moved/er/b.png"]).then_some(())
        })
        .await;
    std::fs::remove_dir_all(world.image("moved")).expect("removed");
    let status = server.until("the deletion is seen, vectors too", async || {
        let status = server.get_json("/api/v1/status").await;
        (status["images"]["total"] == 1 && status["store"]["vectors"] == 1).then_some(status)
    });
    assert_eq!(status.await["images"]["indexed"], 1);
    assert_eq!(all_names(&server).await, ["a.png"]);
}

#[tokio::test]
async fn what_happened_while_it_was_off_is_caught_up() {
    let world =
        World::new().set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0");
    for (name, number) in [("stay.png", 1), ("change.png", 2), ("move.png", 3), ("delete.png", 4)] {
        world.write(name, &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(4, 0).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    world.write("change.png", &picture(5));
    std::fs::create_dir(world.image("sub")).expect("mkdir");
    std::fs::rename(world.image("move.png"), world.image("sub/moved.png")).expect("moved");
    std::fs::remove_file(world.image("delete.png")).expect("removed");
    world.write("new.png", &picture(6));
    let server = world.serve().await;
    let status = server.until_counts(4, 0).await;
    assert_eq!(all_names(&server).await, ["change.png", "new.png", "stay.png", "sub/moved.png"]);
    assert_eq!(status["store"]["vectors"], 4, "vectors of what went are gone");
}

#[tokio::test]
async fn bad_files_fail_with_a_reason_and_hold_up_nothing() {
    let world =
        World::new().set("DECODE__PIXELS_MAX", "1000000").set("INGEST__RETRY_DELAY_MS", "10");
    let good = picture(1);
    for number in 0..20 {
        world.write(&format!("good {number}.png"), &picture(number));
    }
    world.write("empty.jpg", b"");
    world.write("half.png", &good[..good.len() / 2]);
    world.write("notes.txt", b"no picture");
    world.write("script.png", b"<svg onload=alert(1)>");
    world.write("noise.png", &[0x9b, 0x00, 0x17, 0xfe, 0x02].repeat(40));
    world.write("bomb.png", &bomb());
    world.write("locked.png", &good);
    std::fs::set_permissions(world.image("locked.png"), std::fs::Permissions::from_mode(0o000))
        .expect("chmod");
    symlink("/etc/passwd", world.image("link.png")).expect("link");
    symlink("/etc", world.image("linked folder")).expect("link");
    world.write(".hidden.png", &good);
    world.write("unfinished.jpg.part", &good);
    let server = world.serve().await;
    // Root may read anything; everyone else sees the locked file fail.
    let root = std::fs::read(world.image("locked.png")).is_ok();
    server.until_counts(if root { 21 } else { 20 }, if root { 4 } else { 5 }).await;
    let mut expected = vec![
        ("bomb.png", "too_many_pixels"),
        ("empty.jpg", "empty_file"),
        ("half.png", "truncated_image"),
    ];
    if !root {
        expected.push(("locked.png", "permission_denied"));
    }
    expected.push(("noise.png", "not_an_image"));
    let expected: Vec<(String, String)> =
        expected.into_iter().map(|(name, code)| (name.to_owned(), code.to_owned())).collect();
    assert_eq!(reasons(&server).await, expected);
    let told = server.get_json("/api/v1/failures").await;
    assert_eq!(told["skipped"], serde_json::json!([{"what": "text", "files": 2}]));
    // Put right, it is indexed without further ado.
    world.write("half.png", &picture(99));
    server
        .until("the repaired picture is indexed", async || {
            all_names(&server).await.contains(&"half.png".to_owned()).then_some(())
        })
        .await;
    let retried = server
        .post("/api/v1/failures/retry")
        .header("origin", &server.url)
        .json(&serde_json::json!({"image_names": ["empty.jpg"]}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(crate::harness::ok_json(retried).await["retried"], 1);
}

/// A small PNG file whose header promises 30,000 by 30,000 pixels.
fn bomb() -> Vec<u8> {
    let mut png = picture(1);
    png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

/// PNG specification, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[tokio::test]
async fn a_file_that_is_still_being_copied_is_waited_for() {
    let world = World::new().set("INGEST__SETTLE_MS", "300");
    let server = world.serve().await;
    let whole = picture(7);
    // Grows in small steps, each well within the settling time, until all of it is there.
    let mut file = std::fs::File::create(world.image("slow.png")).expect("create");
    for part in whole.chunks(whole.len() / 12 + 1) {
        std::io::Write::write_all(&mut file, part).expect("write");
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    drop(file);
    server.until_counts(1, 0).await;
    assert!(
        !server.log_text().contains("cannot index an image"),
        "it was read half-way: {}",
        server.log_text()
    );
}

#[tokio::test]
async fn odd_names_and_many_folders_are_served_by_name() {
    let names = [
        "Größe & Co/日本 写真.png",
        "100%.png",
        "a+b?c#d.png",
        "quote\"'.png",
        " leading space.png",
        "emoji 🎾.png",
    ];
    let world = World::new();
    for (number, name) in names.iter().enumerate() {
        world.write(name, &picture(number as u32));
    }
    let server = world.serve().await;
    server.until_counts(names.len() as u64, 0).await;
    let answer = server.search(serde_json::json!({"text": "x"})).await;
    let mut seen = Vec::new();
    for found in answer["matches"].as_array().expect("matches") {
        let bytes = server
            .get(found["image_url"].as_str().expect("a url"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(bytes.status(), 200, "{found}");
        let name = found["image_name"].as_str().expect("a name");
        assert_eq!(
            bytes.bytes().await.expect("bytes"),
            std::fs::read(world.image(name)).expect("read")
        );
        seen.push(name.to_owned());
    }
    seen.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_picture_that_comes_back_is_found_again_without_being_read() {
    let world = World::new().set("INGEST__ORPHAN_GRACE_MS", "0");
    for number in 0..3 {
        world.write(&format!("trip/{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    let indexed = async || {
        let text = server.get("/metrics").send().await.expect("an answer").text().await;
        let text = text.expect("text");
        let line = text.lines().find(|line| line.contains("images_indexed_total "));
        line.expect("a counter").to_owned()
    };
    let before = indexed().await;
    std::fs::rename(world.image("trip"), world.path("unplugged")).expect("moved");
    let status = server.until_counts(0, 0).await;
    assert_eq!(status["store"]["vectors"], 3, "its vectors were given up");
    assert!(all_names(&server).await.is_empty(), "what is gone is still found");
    std::fs::rename(world.path("unplugged"), world.image("trip")).expect("moved");
    server.until_counts(3, 0).await;
    assert_eq!(all_names(&server).await.len(), 3);
    assert_eq!(indexed().await, before, "it was indexed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_keeps_growing_does_not_keep_index_from_ending() {
    let world = World::new().set("INGEST__INDEX_PATIENCE_MS", "1500");
    world.write("a.png", &picture(1));
    world.write("growing.png", &picture(2));
    let (path, ended) = (world.image("growing.png"), Arc::new(AtomicBool::new(false)));
    let growing = std::thread::spawn({
        let ended = ended.clone();
        move || {
            let mut file = std::fs::File::options().append(true).open(path).expect("opened");
            while !ended.load(Ordering::Relaxed) {
                file.write_all(b"more").expect("written");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let output = tokio::task::block_in_place(|| world.run("index", &[]));
    ended.store(true, Ordering::Relaxed);
    growing.join().expect("joined");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("1 are searchable") && said.contains("1 pictures are still pending"),
        "{said}"
    );
    let output = tokio::task::block_in_place(|| world.run("index", &[]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("2 are searchable"), "{said}");
}

#[test]
fn index_gives_up_when_the_disk_stays_full_and_says_why() {
    let world = World::new()
        .set("INGEST__INDEX_PATIENCE_MS", "1500")
        .set("VECTOR_STORE__EMBEDDED__DISK_RESERVE_MIB", "1000000000");
    world.write("a.png", &picture(1));
    let output = world.run("index", &[]);
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(
        complained.contains("must stay free")
            && complained.contains("1 pictures are still pending"),
        "{complained}"
    );
    let world = world.set("VECTOR_STORE__EMBEDDED__DISK_RESERVE_MIB", "1");
    assert_eq!(world.run("index", &[]).status.code(), Some(0));
}

/// `index` over 600 pictures.
fn start_indexing(world: &World) -> Child {
    for number in 0..600 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let mut command = world.command("index");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

/// Halts it (SIGSTOP) at a moment when some pictures are indexed and others are not. It runs in short slices, so that a fast
/// machine does not reach the end before a slow look at it says so. At low priority it would get nowhere in them beside others.
fn halt_amid(world: &World, indexing: &Child) {
    let started = Instant::now();
    loop {
        send("STOP", indexing);
        let status = world.run("status", &["--json"]).stdout;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        let count = |state: &str| status["images"][state].as_u64().unwrap_or_default();
        if count("indexed") > 0 {
            assert!(count("pending") > 0, "it ended within one slice: {status}");
            return;
        }
        assert!(started.elapsed() < Duration::from_mins(2), "nothing is indexed");
        send("CONT", indexing);
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn send(signal: &str, process: &Child) {
    let pid = process.id().to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    assert!(sent.expect("kill runs").success(), "{signal}");
}

#[test]
fn index_ends_at_ctrl_c_and_goes_on_the_next_time() {
    let world = World::new().set("INGEST__LOW_PRIORITY", "false");
    let indexing = start_indexing(&world);
    halt_amid(&world, &indexing);
    send("INT", &indexing);
    send("CONT", &indexing);
    let output = indexing.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("still pending"), "{said}");
    let output = world.run("index", &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("600 are searchable"), "{said}");
}

/// Two signals wait for it when it wakes up: the second one does not wait for what the first one began.
#[test]
fn a_second_signal_ends_index_at_once() {
    let world = World::new().set("INGEST__LOW_PRIORITY", "false");
    let indexing = start_indexing(&world);
    halt_amid(&world, &indexing);
    for signal in ["INT", "TERM", "CONT"] {
        send(signal, &indexing);
    }
    let output = indexing.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "", "there was no time for a summary");
    let output = world.run("index", &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("600 are searchable"), "{said}");
}
