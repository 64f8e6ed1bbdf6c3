//! House rules that a machine can check: which module imports which, no circles, the length of files, that each file says
//! what it is, and that docs/api.md names every code that the program answers with.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::imports::{imports_of, module_path};
use crate::harness::repository;

/// Modules that may know about serving and the terminal.
const OUTER: &[&str] = &["http", "cli"];
const FILE_LINES_MAX: usize = 700;

/// Rust files below the folder, with their text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let files = folders.iter().flat_map(|folder| walkdir::WalkDir::new(repository().join(folder)));
    let files = files.filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("read");
            (path, text)
        })
        .collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).expect("below the repository").display().to_string()
}

/// Paths that a crate's files import, each with the module that does: `["ingest", "worker"]` imports `["types", "now_ms"]`.
fn imports(root: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    for (path, text) in sources(&[root]) {
        let module = module_path(path.strip_prefix(repository().join(root)).expect("below"));
        // Tests may know more than what they test.
        if module.iter().any(|part| ["tests", "conformance", "test_app"].contains(&part.as_str())) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        found.extend(imports_of(code, &module).into_iter().map(|path| (module.clone(), path)));
    }
    assert!(found.len() > 20, "only {} imports were seen in {root}", found.len());
    found
}

/// The arrows of ARCHITECTURE.md: below "Imports", one line `module: what it may import` each.
fn allowed_imports() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("read");
    let list = text.split("## Imports").nth(1).and_then(|rest| rest.split("```").nth(1));
    let lines = list.expect("a list of imports in ARCHITECTURE.md").lines().skip(1);
    let arrows = lines.filter_map(|line| line.split_once(':')).map(|(module, imported)| {
        let imported = imported.split_whitespace().map(str::to_owned).collect();
        (module.trim().to_owned(), imported)
    });
    arrows.collect()
}

#[test]
fn imports_are_those_of_the_architecture() {
    let allowed = allowed_imports();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, path) in imports("src") {
        let own = module.first().map_or("lib", String::as_str);
        if !["main", "lib"].contains(&own) {
            let imported = real.entry(own.to_owned()).or_default();
            imported.extend(path.first().filter(|first| *first != own).cloned());
        }
    }
    let modules: BTreeSet<&String> = real.keys().chain(allowed.keys()).collect();
    let none = BTreeSet::new();
    let mut wrong = Vec::new();
    for module in modules {
        let (is, may) = (real.get(module).unwrap_or(&none), allowed.get(module).unwrap_or(&none));
        let unknown = is.difference(may).filter(|name| real.contains_key(*name));
        wrong.extend(
            unknown
                .map(|name| format!("{module} imports {name}: ARCHITECTURE.md does not allow it")),
        );
        let stale = may.difference(is);
        wrong.extend(stale.map(|name| {
            format!("{module} does not import {name} any more: take it out of ARCHITECTURE.md")
        }));
        if !allowed.contains_key(module) {
            wrong.push(format!("{module} has no line in ARCHITECTURE.md yet"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a module imports of its neighbours in the same folder, for every folder.
fn arrows_between_neighbours(root: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let imports = imports(root);
    let modules: BTreeSet<Vec<String>> = imports.iter().map(|(module, _)| module.clone()).collect();
    let is_module = |path: &[String]| modules.iter().any(|module| module.starts_with(path));
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, path) in &imports {
        let shared = module.iter().zip(path).take_while(|(a, b)| a == b).count();
        let (Some(from), Some(to)) = (module.get(shared), path.get(shared)) else { continue };
        if is_module(&path[..=shared]) {
            let folder = folders.entry(module[..shared].join("::")).or_default();
            folder.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    folders
}

/// The modules of one circle, if there is any.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut left = arrows.clone();
    // What imports none of those that are left is in no circle; what remains then is, or leads into one.
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imported| imported.iter().any(|name| names.contains(name)));
        if left.len() == before {
            return Some(left.into_keys().collect())
                .filter(|names: &Vec<String>| !names.is_empty());
        }
    }
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for root in ["src", "crates/clip/src"] {
        for (folder, arrows) in arrows_between_neighbours(root) {
            if let Some(names) = circle(&arrows) {
                circles
                    .push(format!("{root}, {folder}: {} (or what they lead to)", names.join(", ")));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_domain_knows_nothing_of_serving_and_the_terminal() {
    for (path, text) in sources(&["src"]) {
        let module = module_path(path.strip_prefix(repository().join("src")).expect("below"));
        if module.first().is_none_or(|first| OUTER.contains(&first.as_str())) {
            continue;
        }
        for outer in ["axum::", "clap::", "indicatif::"] {
            let names = |line: &str| line.trim_start().starts_with(&format!("use {outer}"));
            assert!(!text.lines().any(names), "{} imports {outer}", relative(&path));
        }
    }
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
    let engine = ["qdrant", "_edge"].concat();
    for (path, text) in sources(&["src", "crates", "tests"]) {
        let relative = relative(&path);
        assert!(
            !text.contains(&engine) || relative.starts_with("src/vector_store/embedded"),
            "{relative} names the engine"
        );
    }
}

#[test]
fn payload_fields_are_named_in_one_place() {
    for (path, text) in sources(&["src"]) {
        let relative = relative(&path);
        let names_it = text.contains("PayloadValue::") && text.contains("\"content_hash\"");
        assert!(
            !names_it || relative == "src/vector_store/payload.rs",
            "{relative} names a payload field; use vector_store::payload"
        );
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    for (path, text) in sources(&["src", "crates", "tests", "benches"]) {
        let relative = relative(&path);
        assert!(text.starts_with("//!"), "{relative} does not say what lives there");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{relative} has {lines} lines; split it");
    }
}

#[test]
fn the_documentation_of_the_api_names_every_code_and_no_other() {
    let documented = std::fs::read_to_string(repository().join("docs/api.md")).expect("read");
    let documented = documented.split("Codes").nth(1).expect("a part about codes");
    // What the program says of itself; another test keeps it up to date.
    let api = std::fs::read_to_string(repository().join("web/openapi.json")).expect("read");
    let api: serde_json::Value = serde_json::from_str(&api).expect("JSON");
    let codes = |name: &str| api["components"]["schemas"][name]["enum"].as_array().cloned();
    let known = ["ProblemCode", "FailureCode"].map(|name| codes(name).expect("a list of codes"));
    let known: BTreeSet<String> =
        known.iter().flatten().filter_map(|code| Some(code.as_str()?.to_owned())).collect();
    assert!(known.len() > 20, "only {} codes were seen: {known:?}", known.len());
    let in_backticks: BTreeSet<String> =
        documented.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let missing: Vec<_> = known.difference(&in_backticks).collect();
    assert!(missing.is_empty(), "docs/api.md does not name {missing:?}");
    let is_code = |word: &&String| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let stale: Vec<_> =
        in_backticks.iter().filter(is_code).filter(|word| !known.contains(*word)).collect();
    assert!(stale.is_empty(), "docs/api.md names codes that the program does not know: {stale:?}");
}
