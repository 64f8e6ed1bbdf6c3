//! Reads which modules a file imports: every path that begins with `crate`, `super` or `self`, in `use` trees and elsewhere.
//! A reader of a few dozen lines and no parser of Rust: it is there for code that `cargo fmt` has formatted.

use std::path::Path;

/// `ingest/worker.rs` is `["ingest", "worker"]`; `lib.rs` is the root.
pub(super) fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Full paths, from the root of the crate, that `code` in the module `own` names.
pub(super) fn imports_of(code: &str, own: &[String]) -> Vec<Vec<String>> {
    let code: String = code
        .lines()
        .map(|line| line.find("//").map_or(line, |comment| &line[..comment]))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for root in ["crate", "super", "self"] {
        let sign = format!("{root}::");
        for (at, _) in code.match_indices(&sign) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                continue;
            }
            let mut base = if root == "crate" { Vec::new() } else { own.to_vec() };
            if root == "super" {
                base.pop();
            }
            tree(&code[at + sign.len()..], &base, &mut found);
        }
    }
    found
}

/// Reads `a::{b, c::d}` into `base::a::b` and `base::a::c::d`. Returns what follows.
fn tree<'a>(code: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = tree(rest, base, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(more) => return more.trim_start().strip_prefix('}').unwrap_or(more),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let (name, mut rest) = code.split_at(end);
    let mut path = base.to_vec();
    match name {
        "super" => drop(path.pop()),
        "self" | "" => {}
        name => path.push(name.to_owned()),
    }
    if let Some(deeper) = rest.strip_prefix("::") {
        return tree(deeper, &path, found);
    }
    found.push(path);
    if let Some(renamed) = rest.strip_prefix(" as ") {
        rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    // `*` and whatever else stands for a name.
    if name.is_empty() && rest.starts_with('*') { &rest[1..] } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_from_where_they_stand() {
        let own = ["ingest".to_owned(), "worker".to_owned()];
        let code = "use super::pipeline::{Item, Pipeline as P};\nuse super::{Shared, other::{self, X}};\n\
                    use crate::types::now_ms; // crate::not::this\nfn f() { self::g(crate::a::b(1)) } $crate::no";
        let mut found: Vec<String> =
            imports_of(code, &own).into_iter().map(|path| path.join("::")).collect();
        found.sort();
        let wanted = [
            "a::b",
            "ingest::Shared",
            "ingest::other",
            "ingest::other::X",
            "ingest::pipeline::Item",
            "ingest::pipeline::Pipeline",
            "ingest::worker::g",
            "types::now_ms",
        ];
        assert_eq!(found, wanted);
        assert_eq!(module_path(Path::new("ingest/worker.rs")), own);
        assert!(module_path(Path::new("lib.rs")).is_empty());
    }
}
