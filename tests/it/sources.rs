//! Disks that come and go: what is away loses nothing, is said to be away, and is picked up again by itself.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, World, picture, problem};
use crate::uploads::{KEY, upload};

const PICTURES: u32 = 12;

/// A world whose folder is compared often.
fn world() -> World {
    unforgiving().set("INGEST__SCAN_INTERVAL_MS", "200")
}

/// What is taken for gone here is gone at once, with its vector.
fn unforgiving() -> World {
    World::new().set("INGEST__ORPHAN_GRACE_MS", "0").set("INGEST__FORGET_AFTER_DAYS", "0")
}

fn fill(world: &World, first: u32) {
    for number in first..first + PICTURES {
        world.write(&format!("{}/{number}.png", number % 3), &picture(number));
    }
}

async fn until_message(server: &Server, part: &str) -> Value {
    server
        .until(&format!("the status says {part:?}"), async || {
            let status = server.get_json("/api/v1/status").await;
            let message = status["ingest"]["message"].as_str().unwrap_or_default();
            message.contains(part).then_some(status)
        })
        .await
}

/// All pictures are there and found, with their vectors.
async fn assert_all_kept(server: &Server, status: &Value) {
    assert_eq!(status["images"]["indexed"], PICTURES, "{status}");
    assert_eq!(status["images"]["pending"], 0, "{status}");
    assert_eq!(status["store"]["vectors"], PICTURES, "{status}");
    assert_eq!(server.names("picture", 100).await.len(), PICTURES as usize);
}

async fn away_gauge(server: &Server) -> String {
    let metrics =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("text");
    let line = metrics.lines().find(|line| line.starts_with("image_search_sources_away"));
    line.expect("the metric").to_owned()
}

#[tokio::test]
async fn a_folder_that_is_taken_away_and_brought_back_loses_nothing() {
    let world = world();
    fill(&world, 0);
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    std::fs::rename(world.path("images"), world.path("away")).expect("unplugged");
    let status = until_message(&server, "there is no such folder").await;
    assert_all_kept(&server, &status).await;
    assert_eq!(away_gauge(&server).await, "image_search_sources_away 1");
    problem(server.get("/api/v1/images/0/0.png"), 503, "source_away").await;
    assert_eq!(status["images"]["away"], PICTURES, "{status}");
    let since = status["sources"][0]["away_since"].as_str().expect("a time").to_owned();
    for command in ["status", "doctor"] {
        let told = world.run(command, &[]).stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        let counted = told.contains(&format!("{PICTURES} pictures"));
        assert!(told.contains(&since) && counted, "{command}: {told}");
    }
    std::fs::rename(world.path("away"), world.path("images")).expect("plugged in");
    world.write("new.png", &picture(100));
    let status = server.until_counts(u64::from(PICTURES) + 1, 0).await;
    assert_eq!(status["ingest"]["message"], Value::Null);
    assert_eq!(away_gauge(&server).await, "image_search_sources_away 0");
}

/// What an unmounted disk leaves is an empty folder on another file system.
#[tokio::test]
async fn an_emptied_folder_loses_nothing_also_across_a_restart() {
    let world = world().set("UPLOADS__ENABLED", "true").set("UPLOADS__API_KEY", KEY);
    fill(&world, 0);
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    std::fs::rename(world.path("images"), world.path("away")).expect("unmounted");
    std::fs::create_dir(world.path("images")).expect("mkdir");
    let status = until_message(&server, "is away").await;
    assert_all_kept(&server, &status).await;
    problem(server.get("/api/v1/images/0/0.png"), 503, "source_away").await;
    let upload = upload(&server, &[("lost.png", &picture(99))]).bearer_auth(KEY);
    problem(upload, 503, "source_away").await;
    let written = std::fs::read_dir(world.path("images")).expect("a folder").count();
    assert_eq!(written, 0, "it would vanish under the disk");
    assert_eq!(server.terminate().await.code(), Some(0));
    let server = world.serve().await;
    let status = until_message(&server, "another one is in its place").await;
    assert_all_kept(&server, &status).await;
    std::fs::remove_dir(world.path("images")).expect("rmdir");
    std::fs::rename(world.path("away"), world.path("images")).expect("mounted");
    server
        .until("it is back", async || {
            let status = server.get_json("/api/v1/status").await;
            status["ingest"]["message"].is_null().then_some(())
        })
        .await;
    world.write("new.png", &picture(100));
    server.until_counts(u64::from(PICTURES) + 1, 0).await;
}

/// The same with a real file system. Mounting needs rights that not every machine gives.
#[tokio::test]
async fn an_unmounted_disk_loses_nothing_and_is_watched_again_after_mounting() {
    // Hints alone must do: the periodic comparison comes too late for this test.
    let world = unforgiving();
    let Some(disk) = Mount::tmpfs(&world.path("images")) else { return };
    fill(&world, 0);
    let kept = world.path("kept");
    std::fs::create_dir(&kept).expect("mkdir");
    copy_all(&world.path("images"), &kept);
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    drop(disk);
    let status = until_message(&server, "another one is in its place").await;
    assert_all_kept(&server, &status).await;
    let _disk = Mount::tmpfs(&world.path("images")).expect("mounted again");
    copy_all(&kept, &world.path("images"));
    world.write("new.png", &picture(100));
    let status = server.until_counts(u64::from(PICTURES) + 1, 0).await;
    assert_eq!(status["ingest"]["message"], Value::Null);
    world.write("newer.png", &picture(101));
    server.until_counts(u64::from(PICTURES) + 2, 0).await;
}

/// Keeps times, as a disk would.
fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

struct Mount(std::path::PathBuf);

impl Mount {
    /// `None`: this user may not mount here.
    fn tmpfs(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(at);
        let output = mount.output().ok()?;
        output.status.success().then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the program may have a picture open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "cannot unmount {}",
            self.0.display()
        );
    }
}

#[tokio::test]
async fn pictures_deleted_to_the_last_while_it_was_off_are_gone_where_the_folder_is_trusted() {
    let world = world();
    fill(&world, 0);
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 0).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    for part in ["0", "1", "2"] {
        std::fs::remove_dir_all(world.image(part)).expect("removed");
    }
    let server = world.serve().await;
    let status = until_message(&server, "no picture is left").await;
    assert_all_kept(&server, &status).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    let world = world.set("INGEST__AWAY_WHEN_EMPTIED", "false");
    let server = world.serve().await;
    server.until_counts(0, 0).await;
}

/// Much more than events are good for one by one would be a full comparison; this many are looked at one by one, together.
#[tokio::test]
async fn a_burst_of_new_files_is_noticed_by_hints_alone() {
    let world = World::new();
    world.write("first.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let same = picture(2);
    for number in 0..4_000 {
        world.write(&format!("burst/{}/{number}.png", number % 10), &same);
    }
    server
        .until("all are noticed", async || {
            let status = server.get_json("/api/v1/status").await;
            (status["images"]["total"] == 4_001).then_some(())
        })
        .await;
}

/// Pulled at any moment of indexing, by removing the folder or by leaving an empty one: every picture ends up indexed once.
#[tokio::test]
async fn a_disk_pulled_again_and_again_while_it_is_indexed_loses_nothing() {
    const MANY: u32 = 400;
    const PULLS: u32 = 8;
    let world = world();
    for number in 0..MANY {
        world.write(&format!("{}/{number}.png", number % 10), &picture(number));
    }
    let server = world.serve().await;
    server
        .until("all are noticed", async || {
            let status = server.get_json("/api/v1/status").await;
            (status["images"]["total"] == MANY).then_some(())
        })
        .await;
    for pull in 0..PULLS {
        let reached = u64::from(pull * (MANY / (PULLS + 1)));
        server
            .until("indexing has come that far", async || {
                let images = server.get_json("/api/v1/status").await["images"].clone();
                (images["indexed"].as_u64() >= Some(reached)).then_some(())
            })
            .await;
        std::fs::rename(world.path("images"), world.path("away")).expect("pulled");
        let leaves_empty = pull % 2 == 1;
        if leaves_empty {
            std::fs::create_dir(world.path("images")).expect("mkdir");
        }
        until_message(&server, "is away").await;
        let status = server.get_json("/api/v1/status").await;
        assert_eq!(status["images"]["failed"], 0, "{status}");
        assert_eq!(status["images"]["total"], MANY, "{status}");
        if leaves_empty {
            std::fs::remove_dir(world.path("images")).expect("rmdir");
        }
        std::fs::rename(world.path("away"), world.path("images")).expect("plugged in");
    }
    let status = server.until_counts(MANY.into(), 0).await;
    assert_eq!(status["store"]["vectors"], MANY, "{status}");
}

#[test]
fn index_does_what_it_can_without_a_disk_that_is_away_and_says_so() {
    let world = World::new();
    fill(&world, 0);
    let missing = world.path("missing").display().to_string();
    let output = world.run("index", &["--images", &missing]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{complained}");
    assert!(said.contains(&format!("{PICTURES} are searchable")), "{said}{complained}");
    assert!(complained.contains("missing is away: there is no such folder"), "{said}{complained}");
}
