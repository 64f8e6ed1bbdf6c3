//! Every link between the documents leads to a file that is there, and to a heading that is in it; the site has them all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::repository;

const SKIPPED: &[&str] = &["target", "node_modules", ".git", "data", "images"];

fn documents() -> Vec<PathBuf> {
    let is_skipped = |entry: &walkdir::DirEntry| {
        entry.depth() > 0 && entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name))
    };
    let files = walkdir::WalkDir::new(repository()).into_iter().filter_entry(|e| !is_skipped(e));
    let files = files.filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    files.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect()
}

/// What `[text](target)` names, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.starts_with("    ") {
            continue;
        }
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            found.extend(rest.find(')').map(|end| rest[..end].to_owned()));
        }
    }
    found
}

/// As GitHub and mdBook make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

fn problem(document: &Path, link: &str) -> Option<String> {
    let is_elsewhere = ["http://", "https://", "mailto:"].iter().any(|kind| link.starts_with(kind));
    if is_elsewhere {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = document.parent().expect("a folder");
    let target = if path.is_empty() { document.to_owned() } else { folder.join(path) };
    if !target.exists() {
        return Some(format!("{}: {link} is not there", document.display()));
    }
    if !anchor.is_empty() {
        let text = std::fs::read_to_string(&target).expect("a text");
        if !anchors(&text).contains(anchor) {
            return Some(format!("{}: {link} has no such heading", document.display()));
        }
    }
    None
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 20, "{}", documents.len());
    let mut problems = Vec::new();
    let mut checked = 0;
    for document in &documents {
        let text = std::fs::read_to_string(document).expect("a text");
        for link in links(&text) {
            checked += 1;
            problems.extend(problem(document, &link));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 60, "{checked}");
}

#[test]
fn the_site_has_every_document() {
    let docs = repository().join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).expect("a text");
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|link| docs.join(link)).collect();
    let all = documents().into_iter().filter(|path| path.starts_with(&docs));
    let missing: Vec<PathBuf> =
        all.filter(|path| !path.ends_with("SUMMARY.md") && !listed.contains(path)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
}
