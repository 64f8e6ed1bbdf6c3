//! What a release consists of agrees with Cargo.toml and with the program: the version and the address stand in one place, and
//! the package's settings, the workflows' toolchain and the container's first layer follow.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use image_search::config::Config;

use crate::harness::{World, repository};

fn file(name: &str) -> String {
    std::fs::read_to_string(repository().join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A value of `[workspace.package]`.
fn package(key: &str) -> String {
    let table: toml_text::Table = toml_text::parse(&file("Cargo.toml"), "workspace.package");
    table.get(key).cloned().unwrap_or_else(|| panic!("no {key} in Cargo.toml"))
}

/// As much of TOML as is asked for here: the texts of one table.
mod toml_text {
    pub(super) type Table = std::collections::BTreeMap<String, String>;

    pub(super) fn parse(text: &str, table: &str) -> Table {
        let lines = text.lines().skip_while(|line| *line != format!("[{table}]")).skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        let pairs = lines.filter_map(|line| line.split_once(" = "));
        pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
    }
}

#[test]
fn the_version_stands_in_cargo_toml_and_everything_follows() {
    let version = package("version");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert!(file("compose.yaml").contains(&format!("image: image-search:{version}\n")));
    let newest =
        file("CHANGELOG.md").lines().find(|line| line.starts_with("## ")).map(str::to_owned);
    assert!(
        newest.as_ref().is_some_and(|line| line.starts_with(&format!("## {version} ("))),
        "CHANGELOG.md begins with {newest:?} instead of {version}"
    );
    let said = World::new().run("--version", &[]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..2], ["image-search", &version], "then may come commit and date");
    let script = Command::new("sh").arg(repository().join("deploy/version.sh")).output();
    let script = script.expect("it runs");
    assert_eq!(String::from_utf8_lossy(&script.stdout).trim(), version);
}

/// Whose image-search a text means, wherever it names a place that keeps programs.
fn owners(text: &str) -> Vec<&str> {
    let places = ["github.com/", "ghcr.io/", "--repo ", "brew tap "];
    let named = places.iter().flat_map(|place| text.split(place).skip(1));
    let named = named.filter_map(|rest| rest.split_once('/'));
    named.filter(|(_, rest)| rest.starts_with("image-search")).map(|(owner, _)| owner).collect()
}

#[test]
fn the_address_stands_in_cargo_toml_and_everything_follows() {
    let address = package("repository");
    let ours = owners(&address);
    assert_eq!(ours.len(), 1, "{address}");
    let mut named = 0;
    for name in [
        "Cargo.toml",
        "README.md",
        "SECURITY.md",
        "book.toml",
        "install.sh",
        "docs/start.md",
        ".github/ISSUE_TEMPLATE/config.yml",
    ] {
        let text = file(name);
        let owners = owners(&text);
        assert!(!owners.is_empty(), "{name} names no address");
        for owner in owners {
            assert_eq!(owner, ours[0], "{name} names another repository than Cargo.toml");
            named += 1;
        }
    }
    assert!(named >= 12, "{named}");
}

#[test]
fn the_toolchain_is_the_same_everywhere() {
    let rust = package("rust-version");
    assert!(file("Dockerfile").contains(&format!("FROM rust:{rust}-slim")));
    let mut installs = 0;
    for workflow in [".github/workflows/ci.yml", ".github/workflows/release.yml"] {
        for line in file(workflow).lines().filter(|line| line.contains("rustup toolchain")) {
            assert!(
                line.contains(&format!("install {rust} "))
                    && line.contains(&format!("default {rust}")),
                "{workflow}: {line}"
            );
            installs += 1;
        }
    }
    assert!(installs >= 4, "{installs}");
    assert!(file("README.md").contains(&format!("Rust {rust}")));
}

#[test]
fn the_services_settings_and_command_are_known() {
    let settings = repository().join("deploy/debian/config.toml");
    let config = Config::load(Some(&settings), Vec::new(), vec![]).expect("valid settings");
    let home = Path::new("/var/lib/image-search");
    assert!(config.images.iter().all(|folder| folder.starts_with(home)));
    assert!(config.data_dir.starts_with(home) && config.models.cache_dir.starts_with(home));
    // The service may write there and nowhere else.
    let unit = file("deploy/debian/image-search.service");
    assert!(unit.contains("\nStateDirectory=image-search\n"));
    let command =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/image-search "));
    let words: Vec<&str> = command.expect("a command").split_whitespace().collect();
    assert_eq!(words, ["serve", "--config", "/etc/image-search/config.toml"]);
    // What is made by the installation is what the settings name.
    let made = file("deploy/debian/postinst");
    for folder in config.images.iter().chain([&config.data_dir, &config.models.cache_dir]) {
        assert!(made.contains(&folder.display().to_string()), "{} is not made", folder.display());
    }
}

#[test]
fn cargo_accepts_what_the_containers_first_layer_copies() {
    let folder = tempfile::tempdir().expect("temp");
    let into = folder.path();
    let dockerfile = file("Dockerfile");
    let (first, _) = dockerfile.split_once("cargo build --release").expect("a first layer");
    let (_, first) = first.split_once("WORKDIR /build").expect("a folder");
    for line in first.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (target, sources) = words.split_last().expect("a target");
        for source in sources {
            let (from, to) = (repository().join(source), into.join(target));
            let to = if from.is_dir() { to } else { to.join(from.file_name().expect("a name")) };
            copy_all(&from, &to);
        }
    }
    let joined = first.replace("\\\n", " ");
    let script = joined.split("RUN ").nth(1).expect("a command").trim().trim_end_matches("&&");
    let run = Command::new("sh").args(["-c", script]).current_dir(into).output().expect("it runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(into)
        .output()
        .expect("cargo runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("read") {
            let entry = entry.expect("read");
            copy_all(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(from, to).expect("copied");
    }
}

/// Other people's code in our workflows is named by commit, which nobody can move.
#[test]
fn actions_are_pinned() {
    let mut pinned = BTreeSet::new();
    for workflow in [".github/workflows/ci.yml", ".github/workflows/release.yml"] {
        for line in file(workflow).lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            let (_, at) = action.split_once('@').expect("a version");
            let commit = at.split_whitespace().next().unwrap_or_default();
            assert!(
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{workflow}: {line}"
            );
            pinned.insert(action.to_owned());
        }
    }
    assert!(pinned.len() >= 8, "{pinned:?}");
}

/// What somebody who builds it waits for. A new crate is worth more than its place in this number, or it is left out.
const CRATES_MAX: usize = 557;

#[test]
fn few_enough_crates_are_built() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .args(["--package", "image-search", "--format", "{p}"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout).into_owned();
    let crates: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    assert!(crates.len() > 100 && crates.len() <= CRATES_MAX, "{} crates", crates.len());
}
