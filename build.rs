//! Puts the commit into what `image-search --version` says. A build without git, from an archive, says the version alone
//! unless IMAGE_SEARCH_COMMIT names commit and date. Builds for development leave it out: each commit would build them anew.
#![allow(clippy::print_stdout)] // Cargo reads it

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

fn commit() -> Option<String> {
    println!("cargo::rerun-if-env-changed=IMAGE_SEARCH_COMMIT");
    if let Ok(commit) = std::env::var("IMAGE_SEARCH_COMMIT") {
        return Some(commit).filter(|commit| !commit.is_empty());
    }
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // Written at every commit and switch of branches.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["log", "-1", "--format=%h %cs", "--abbrev=10"])
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let full = commit().map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=IMAGE_SEARCH_VERSION={full}");
}
