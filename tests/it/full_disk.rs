//! A disk that fills up to its last byte, and is given space again: whatever was answered 2xx is still there after a
//! restart, what was refused says so, and everything goes on by itself. The data folder is a small file system of its
//! own, which takes root to mount; where that is not allowed the tests say so, and `catalog::sqlite` proves its part alone.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, problem};
use crate::uploads::{KEY, upload};

const DISK_MIB: u64 = 160;
const RATINGS: usize = 30;

/// A file system of [`DISK_MIB`] on the data folder, unmounted when dropped.
struct SmallDisk {
    mounted_at: PathBuf,
    filler: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn under(world: &World) -> Option<Self> {
        Self::at(world, "data")
    }

    fn at(world: &World, folder: &str) -> Option<Self> {
        let (image, mounted_at) = (world.path("disk.img"), world.path(folder));
        std::fs::create_dir_all(&mounted_at).expect("mkdir");
        File::create(&image).and_then(|file| file.set_len(DISK_MIB << 20)).expect("an image");
        // No blocks are kept back for root, who runs this.
        let made = succeeds(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        let loop_mounted = made
            && succeeds(Command::new("mount").args(["-o", "loop"]).args([&image, &mounted_at]));
        let size = format!("size={DISK_MIB}m");
        let mounted = loop_mounted
            || succeeds(
                Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&mounted_at),
            );
        let filler = mounted_at.join("filler");
        mounted.then_some(Self { mounted_at, filler })
    }

    /// Leaves no byte: ever smaller pieces until not one more fits.
    fn fill(&self) {
        let mut file =
            File::options().create(true).append(true).open(&self.filler).expect("filler");
        for piece in [1 << 20, 4096, 1] {
            let bytes = vec![b'x'; piece];
            while file.write_all(&bytes).and_then(|()| file.sync_data()).is_ok() {}
        }
        let last = file.write_all(b"x").and_then(|()| file.sync_data());
        assert_eq!(last.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    fn allow_writing(&self, allowed: bool) {
        let how = if allowed { "remount,rw" } else { "remount,ro" };
        assert!(succeeds(Command::new("mount").args(["-o", how]).arg(&self.mounted_at)), "{how}");
    }

    fn free(&self) {
        std::fs::remove_file(&self.filler).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg("-l").arg(&self.mounted_at));
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A world on a small disk, with reserves that suit its size.
#[expect(clippy::print_stderr, reason = "a test that cannot run has to say so")]
fn small_world() -> Option<(SmallDisk, World)> {
    let world = World::new()
        .set("VECTOR_STORE__EMBEDDED__DISK_RESERVE_MIB", "16")
        .set("INGEST__SCAN_INTERVAL_MS", "300");
    let Some(disk) = SmallDisk::under(&world) else {
        eprintln!("skipped: this user may not mount a file system");
        return None;
    };
    Some((disk, world))
}

async fn tokens(server: &Server, count: usize) -> Vec<String> {
    let mut tokens = Vec::with_capacity(count);
    for number in 0..count {
        let answer = server.search(json!({"text": format!("picture {number}")})).await;
        tokens.push(answer["jwt"].as_str().expect("a token").to_owned());
    }
    tokens
}

/// Rates each answer once; returns which ratings were taken, and the last refusal.
async fn rate<'a>(server: &Server, tokens: &'a [String]) -> (Vec<&'a str>, Option<(u16, Value)>) {
    let (mut taken, mut refused) = (Vec::new(), None);
    for jwt in tokens {
        let body = json!({"user_feedback": 7, "jwt": jwt});
        let response =
            server.post("/api/v1/create-feedback").json(&body).send().await.expect("an answer");
        let status = response.status();
        if status.is_success() {
            taken.push(jwt.as_str());
        } else {
            refused = Some((status.as_u16(), response.json().await.expect("a problem")));
        }
    }
    (taken, refused)
}

fn exported_ratings(world: &World) -> usize {
    let export = world.run("feedback", &["export"]);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    String::from_utf8_lossy(&export.stdout).lines().count()
}

async fn until_not_ready(server: &Server) -> Value {
    server
        .until("it says that the disk is full", async || {
            let response = server.get("/readyz").send().await.expect("an answer");
            (response.status() == 503).then_some(response)
        })
        .await
        .json()
        .await
        .expect("JSON")
}

#[tokio::test]
async fn ratings_that_were_taken_survive_a_full_disk() {
    let Some((disk, world)) = small_world() else { return };
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let (before, during, after) = (
        tokens(&server, RATINGS).await,
        tokens(&server, 10 * RATINGS).await,
        tokens(&server, RATINGS).await,
    );
    let mut acknowledged: HashSet<&str> = HashSet::new();
    acknowledged.extend(rate(&server, &before).await.0);
    assert_eq!(acknowledged.len(), RATINGS);
    disk.fill();
    let (taken, refused) = rate(&server, &during).await;
    acknowledged.extend(taken);
    let (status, problem) = refused.expect("a full disk refuses sooner or later");
    let ready = until_not_ready(&server).await;
    disk.free();
    server.until_ready().await;
    // What was refused can be sent again, and new ones are taken.
    for tokens in [&after[..], &during[..RATINGS]] {
        let (taken, refused) = rate(&server, tokens).await;
        assert_eq!((taken.len(), refused), (RATINGS, None), "it does not recover");
        acknowledged.extend(taken);
    }
    world.write("b.png", &picture(2));
    server.until_counts(2, 0).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    assert_eq!(exported_ratings(&world), acknowledged.len(), "acknowledged ratings are gone");
    assert_eq!((status, problem["code"].as_str()), (507, Some("storage_full")), "{problem}");
    let detail = ready["catalog"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("free some space"), "no advice: {ready}");
    let server = world.serve().await;
    server.until_counts(2, 0).await;
    drop(server);
    drop(disk);
}

#[tokio::test]
async fn a_disk_that_fills_while_indexing_loses_nothing() {
    let Some((disk, world)) = small_world() else { return };
    for number in 0..40 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(40, 0).await;
    disk.fill();
    for number in 40..80 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    std::fs::remove_file(world.image("0.png")).expect("removed");
    until_not_ready(&server).await;
    assert!(!server.names("picture", 100).await.is_empty(), "searches need no disk");
    disk.free();
    server.until_counts(79, 0).await;
    assert_eq!(server.names("picture", 100).await.len(), 79);
    // And once more, through a kill while it is full.
    disk.fill();
    world.write("new.png", &picture(1000));
    until_not_ready(&server).await;
    server.kill_9();
    disk.free();
    let server = world.serve().await;
    server.until_counts(80, 0).await;
    assert_eq!(server.names("picture", 100).await.len(), 80);
    drop(server);
    drop(disk);
}

#[tokio::test]
async fn a_start_on_a_full_disk_keeps_the_index_and_says_why() {
    let Some((disk, world)) = small_world() else { return };
    for number in 0..10 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let server = world.serve().await;
    server.until_counts(10, 0).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    refuses_to_start(&disk, &world);
    let server = world.serve().await;
    server.until_counts(10, 0).await;
    // After a kill the catalog has its files, and opens; then it is the vectors' turn.
    server.kill_9();
    refuses_to_start(&disk, &world);
    let server = world.serve().await;
    server.until_counts(10, 0).await;
    assert_eq!(server.names("picture", 100).await.len(), 10);
    drop(server);
    drop(disk);
}

fn refuses_to_start(disk: &SmallDisk, world: &World) {
    disk.fill();
    let refused = world.run("index", &[]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("free some space"), "no advice: {message}");
    assert!(set_aside(&world.path("data/vectors")).is_empty(), "a healthy index was set aside");
    disk.free();
}

/// Folders of collections that were taken for damaged.
fn set_aside(vectors: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(vectors).expect("read");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.display().to_string().contains("broken"))
        .collect()
}

#[tokio::test]
async fn uploads_into_a_full_or_read_only_folder_leave_nothing_and_say_why() {
    let world = World::new()
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY)
        .set("UPLOADS__DISK_RESERVE_MIB", "0")
        .set("INGEST__IGNORE", "filler,lost+found");
    let Some(disk) = SmallDisk::at(&world, "images") else { return };
    let server = world.serve().await;
    let send = |name: &'static str, number: u32| {
        upload(&server, &[(name, &picture(number))]).bearer_auth(KEY)
    };
    disk.fill();
    let full = problem(send("folder/a.png", 1), 507, "storage_full").await;
    assert!(full["detail"].as_str().is_some_and(|text| text.contains("space")), "{full}");
    assert!(!world.image("folder").exists(), "a folder was left behind");
    disk.free();
    disk.allow_writing(false);
    let refused = problem(send("a.png", 1), 503, "storage_read_only").await;
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("write")), "{refused}");
    disk.allow_writing(true);
    assert_eq!(send("a.png", 1).send().await.expect("an answer").status(), 201);
    server.until_counts(1, 0).await;
    drop(server);
    drop(disk);
}
