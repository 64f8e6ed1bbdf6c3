//! `install.sh` against a server on this machine: it installs what the release lists, and refuses everything else, with the
//! program that was there before left as it was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use image_search::config::Config;
use image_search::http::server::serve;
use image_search::types::hex;
use prometheus_client::metrics::gauge::Gauge;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::harness::repository;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A server of releases, and a home to install into.
struct Releases {
    files: Files,
    address: String,
    home: TempDir,
}

fn archive_name(version: &str) -> String {
    format!("image-search-{version}-{}-unknown-linux-gnu.tar.gz", std::env::consts::ARCH)
}

/// An archive as `deploy/package.sh` lays it out, with a program that says its version.
fn archive(version: &str) -> Vec<u8> {
    let work = tempfile::tempdir().expect("temp");
    let name = archive_name(version);
    let folder = work.path().join(name.trim_end_matches(".tar.gz"));
    std::fs::create_dir_all(folder.join("demo/pictures")).expect("made");
    let program = folder.join("image-search");
    std::fs::write(&program, format!("#!/bin/sh\necho image-search {version}\n")).expect("written");
    let steps = format!(
        "chmod 755 {} && tar -C {} -czf - {}",
        program.display(),
        work.path().display(),
        name.trim_end_matches(".tar.gz")
    );
    Command::new("sh").args(["-c", &steps]).output().expect("tar runs").stdout
}

impl Releases {
    async fn start() -> Self {
        let files = Files::default();
        let answer = |State(files): State<Files>, Path(path): Path<String>| async move {
            let files = files.lock().expect("not poisoned");
            files.get(&path).cloned().ok_or(StatusCode::NOT_FOUND)
        };
        let router =
            Router::new().route("/{*path}", axum::routing::get(answer)).with_state(files.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/releases", listener.local_addr().expect("an address"));
        let config = Config::load(None, [], vec![]).expect("the defaults").server;
        let (connections, stop) = (Gauge::default(), CancellationToken::new());
        tokio::spawn(async move { serve(listener, router, &config, connections, stop).await });
        let releases = Self { files, address, home: tempfile::tempdir().expect("temp") };
        releases.release("1.2.3");
        releases
    }

    /// Makes this version the newest.
    fn release(&self, version: &str) {
        let archive = archive(version);
        let list = format!("{}  {}\n", hex(&Sha256::digest(&archive)), archive_name(version));
        for folder in ["latest/download".to_owned(), format!("download/v{version}")] {
            self.put(&format!("{folder}/{}", archive_name(version)), archive.clone());
            self.put(&format!("{folder}/SHA256SUMS"), list.clone().into());
        }
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().expect("not poisoned").insert(format!("releases/{path}"), bytes);
    }

    async fn install(&self, variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new("sh");
        command
            .arg(repository().join("install.sh"))
            .env("HOME", self.home.path())
            .env("INSTALL_RELEASES", &self.address)
            .envs(variables.iter().copied());
        let run = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
        run.await.expect("it ends")
    }

    fn program(&self) -> PathBuf {
        self.home.path().join(".local/bin/image-search")
    }

    /// What the installed program says of itself.
    fn installed(&self) -> Option<String> {
        let output = Command::new(self.program()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    async fn refuses(&self, reason: &str) {
        let output = self.install(&[]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{reason}: {output:?}");
        assert_eq!(self.installed().as_deref(), Some("image-search 1.2.3"), "after: {reason}");
    }
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "there is no program to install")]
async fn the_newest_is_installed_or_the_one_that_is_asked_for_and_goes_again() {
    let releases = Releases::start().await;
    assert!(releases.install(&[]).await.status.success());
    assert_eq!(releases.installed().as_deref(), Some("image-search 1.2.3"));
    releases.release("1.3.0");
    let output = releases.install(&[]).await;
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("Installed image-search 1.3.0"),
        "{output:?}"
    );
    assert_eq!(releases.installed().as_deref(), Some("image-search 1.3.0"));
    assert!(releases.install(&[("INSTALL_VERSION", "1.2.3")]).await.status.success());
    assert_eq!(releases.installed().as_deref(), Some("image-search 1.2.3"));
    let gone = Command::new("sh")
        .arg(repository().join("install.sh"))
        .arg("--uninstall")
        .env("HOME", releases.home.path())
        .output()
        .expect("it runs");
    assert!(gone.status.success() && !releases.program().exists());
    assert!(!releases.home.path().join(".local/lib/image-search").exists());
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "there is no program to install")]
async fn what_the_release_does_not_list_is_refused() {
    let releases = Releases::start().await;
    assert!(releases.install(&[]).await.status.success());
    let (good, name) = (archive("1.2.3"), archive_name("1.2.3"));
    let path = format!("latest/download/{name}");
    let list = |hash: &str, name: &str| format!("{hash}  {name}\n").into_bytes();
    let sum = hex(&Sha256::digest(&good));

    releases.put(&path, archive("6.6.6"));
    releases.refuses("is not what the release lists").await;
    releases.put(&path, good[..good.len() / 2].to_vec());
    releases.refuses("is not what the release lists").await;
    releases.put(&path, Vec::new());
    releases.refuses("is not what the release lists").await;

    releases.put(&path, good);
    let sums = "latest/download/SHA256SUMS";
    releases.put(sums, list("", &name));
    releases.refuses("has no program for").await;
    releases.put(sums, list(&sum[..40], &name));
    releases.refuses("does not list").await;
    releases.put(sums, list(&sum, "image-search-1.2.3-s390x-unknown-linux-gnu.tar.gz"));
    releases.refuses("has no program for").await;
    releases.put(sums, list(&sum, &format!("image-search-1/../../{name}")));
    releases.refuses("strange file").await;
    releases.put(sums, Vec::new());
    releases.refuses("has no program for").await;
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "there is no program to install")]
async fn a_server_elsewhere_without_tls_and_a_copy_without_an_address_are_refused() {
    let releases = Releases::start().await;
    let output = releases.install(&[("INSTALL_RELEASES", "http://mirror.invalid/releases")]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not https"), "{output:?}");
    let output = releases
        .install(&[("INSTALL_RELEASES", "https://github.com/OWNER/image-search/releases")])
        .await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not know where"), "{output:?}");
    assert_eq!(releases.installed(), None);
}
