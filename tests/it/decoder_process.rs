//! AVIF and JPEG XL are decoded in processes of their own, which can do nothing but that, and whose end costs nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, World, picture, repository};
use crate::search::multipart;

fn golden(name: &str) -> Vec<u8> {
    let folder = repository().join("crates/clip/tests/golden/formats");
    std::fs::read(folder.join(name)).expect("a picture")
}

/// Decoding processes of the server, which are children of it.
fn decoders(server: &Server) -> Vec<PathBuf> {
    let parent = format!("PPid:\t{}\n", server.pid());
    let processes = std::fs::read_dir("/proc").expect("listed").filter_map(Result::ok);
    let is_child = |folder: &PathBuf| {
        std::fs::read_to_string(folder.join("status")).is_ok_and(|status| status.contains(&parent))
    };
    processes.map(|entry| entry.path()).filter(is_child).filter(|path| is_decoder(path)).collect()
}

fn is_decoder(process: &Path) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("decode-pictures")
}

async fn search_by(server: &Server, bytes: &[u8]) -> Value {
    let form = multipart("b", &[("image", Some("a"), bytes)]);
    let request = server.post("/api/v1/search-image");
    let request = request.header("content-type", "multipart/form-data; boundary=b").body(form);
    request.send().await.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it looks into /proc")]
async fn they_decode_in_a_sandbox_and_are_started_again_when_they_end() {
    let world = World::new();
    world.write("a.avif", &golden("alpha.avif"));
    world.write("b.jxl", &golden("lossy.jxl"));
    world.write("c.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(3, 0).await;
    let running = decoders(&server);
    assert!(!running.is_empty(), "nobody decodes elsewhere");
    for process in &running {
        let status = std::fs::read_to_string(process.join("status")).expect("a status");
        for wanted in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(wanted), "{wanted} is not in {status}");
        }
        let limits = std::fs::read_to_string(process.join("limits")).expect("limits");
        for none in ["Max file size", "Max open files", "Max processes", "Max core file size"] {
            let limit = limits.lines().find(|line| line.starts_with(none));
            assert!(limit.is_some_and(|line| line.contains(" 0 ")), "{none}: {limits}");
        }
    }
    for process in &running {
        let pid = process.file_name().expect("a pid").to_string_lossy().into_owned();
        assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill runs").success());
    }
    let answer = search_by(&server, &golden("alpha.avif")).await;
    assert_eq!(answer["matches"][0]["image_name"], "a.avif", "{answer}");
    let broken = search_by(&server, &golden("alpha.avif")[..200]).await;
    assert_eq!(broken["status"], json!(422), "{broken}");
    assert!(!decoders(&server).is_empty());
    let left = decoders(&server);
    assert!(server.terminate().await.success());
    let ended = async {
        while left.iter().any(|process| is_decoder(process)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("they outlive it");
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it looks into /proc")]
async fn they_can_be_done_without() {
    let world = World::new().set("DECODE__IN_PROCESS", "true");
    world.write("a.avif", &golden("alpha.avif"));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    assert!(decoders(&server).is_empty());
}
