//! House rules that a machine can check: the direction of imports, the length of files, and that each file says what it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::harness::repository;

/// Each layer may import its own and those above it in this list.
const LAYERS: &[&[&str]] = &[
    &["types", "config", "metrics"],
    &["catalog", "source", "vector_store", "search_token", "thumbnails"],
    &["embedder", "models"],
    &["ingest", "search", "feedback"],
    &["app"],
    &["http", "cli"],
];
/// Modules that may know about serving and the terminal.
const OUTER: &[&str] = &["http", "cli", "main", "lib"];
const FILE_LINES_MAX: usize = 700;

fn sources() -> Vec<PathBuf> {
    let walk = |folder: &str| {
        walkdir::WalkDir::new(repository().join(folder))
            .into_iter()
            .filter_map(Result::ok)
            .map(walkdir::DirEntry::into_path)
    };
    let files = walk("src").chain(walk("crates/clip/src")).chain(walk("tests"));
    files.filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

fn module_of(path: &Path) -> Option<String> {
    let relative = path.strip_prefix(repository().join("src")).ok()?;
    let first = relative.iter().next()?.to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn imports_point_one_way() {
    let layer: HashMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(index, modules)| modules.iter().map(move |module| (*module, index)))
        .collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for path in sources() {
        let Some(module) = module_of(&path) else { continue };
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let own =
            *layer.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no layer yet"));
        let text = std::fs::read_to_string(&path).expect("read");
        for (number, line) in text.lines().enumerate() {
            for imported in line.split("crate::").skip(1) {
                let name: String =
                    imported.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                checked += 1;
                if layer.get(name.as_str()).is_some_and(|index| *index > own) {
                    wrong.push(format!(
                        "{}:{}: {module} imports {name}",
                        path.display(),
                        number + 1
                    ));
                }
            }
            let outer_crate = ["axum::", "clap::", "indicatif::"]
                .iter()
                .find(|krate| line.trim_start().starts_with(&format!("use {krate}")));
            if let (Some(krate), false) = (outer_crate, OUTER.contains(&module.as_str())) {
                wrong.push(format!("{}:{}: {module} imports {krate}", path.display(), number + 1));
            }
        }
    }
    assert!(checked > 100, "the check saw only {checked} imports");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_model_crate_is_pure() {
    let manifest =
        std::fs::read_to_string(repository().join("crates/clip/Cargo.toml")).expect("read");
    for banned in ["tokio", "sqlx", "axum", "reqwest"] {
        assert!(
            !manifest.lines().any(|line| line.starts_with(banned)),
            "crates/clip depends on {banned}"
        );
    }
}

#[test]
fn only_the_embedded_store_names_its_engine() {
    for path in sources() {
        let relative = path.strip_prefix(repository()).expect("below").display().to_string();
        let text = std::fs::read_to_string(&path).expect("read");
        let engine = ["qdrant", "_edge"].concat();
        assert!(
            !text.contains(&engine) || relative.starts_with("src/vector_store/embedded"),
            "{relative} names the engine"
        );
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("read");
        let relative = path.strip_prefix(repository()).expect("below").display().to_string();
        assert!(text.starts_with("//!"), "{relative} does not say what lives there");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{relative} has {lines} lines; split it");
    }
}
