//! The comparison against a real catalog and a source in memory that fails and delays on demand.

use std::sync::Arc;

use super::*;
use crate::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use crate::catalog::{Images, Queue, Sources};
use crate::source::Source;
use crate::source::memory::MemorySource;

struct Bench {
    catalog: SqliteCatalog,
    source: MemorySource,
    followed: Followed,
    work: Notify,
    is_clean: AtomicBool,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temp");
        let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), SqliteOptions::default())
            .await
            .expect("a catalog");
        let source = MemorySource::default();
        for text in names {
            source.put(&name(text), b"x");
        }
        let followed = Followed::new(Arc::new(source.clone()));
        let (work, is_clean) = (Notify::new(), AtomicBool::new(true));
        let bench = Self { catalog, source, followed, work, is_clean, _dir: dir };
        bench.reconciler().compare_all().await.expect("compared");
        bench
    }

    fn reconciler(&self) -> Reconciler<'_> {
        Reconciler {
            catalog: &self.catalog,
            followed: &self.followed,
            settle_ms: 0,
            away_when_emptied: true,
            work: &self.work,
            is_clean: &self.is_clean,
            claim: None,
        }
    }

    async fn known(&self) -> Vec<String> {
        let known = self.catalog.known("memory", &Scope::All, None, 10_000).await.expect("known");
        known.into_iter().map(|image| image.name.to_string()).collect()
    }

    /// Compares everything, expects the source to be taken for away for this reason, and nothing to be changed by it.
    async fn assert_away(&self, reason: &str) {
        let before = self.known().await;
        let error = self.reconciler().compare_all().await.expect_err("away");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(self.followed.presence.away().is_some_and(|away| away.reason.contains(reason)));
        assert_eq!(self.known().await, before);
        let noted = self.catalog.sources().await.expect("sources").remove(0).away;
        assert!(noted.is_some_and(|away| away.reason.contains(reason)), "the catalog knows");
    }

    async fn assert_back(&self, names: &[&str]) {
        self.reconciler().compare_all().await.expect("compared");
        assert_eq!(self.followed.presence.away(), None);
        assert_eq!(self.known().await, names);
        let noted = self.catalog.sources().await.expect("sources").remove(0);
        let identity = self.source.identity().await.expect("there");
        assert_eq!((noted.away, noted.identity), (None, Some(identity.0)));
    }
}

fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("valid")
}

fn under(text: &str) -> Scope {
    Scope::Under(name(text))
}

#[tokio::test]
async fn new_changed_and_gone_are_recorded_and_the_rest_is_left_alone() {
    let bench = Bench::new(&["a/b", "a.png", "a0", "changes", "goes", "z"]).await;
    let leased =
        bench.catalog.lease(10, "t", now_ms(), now_ms() + 60_000, false).await.expect("lease");
    assert_eq!(leased.len(), 6);
    bench.is_clean.store(true, Ordering::Relaxed);
    bench.source.remove(&name("goes"));
    bench.source.put(&name("changes"), b"other");
    bench.source.put(&name("a!"), b"new");
    bench.reconciler().compare_all().await.expect("compared");
    assert_eq!(bench.known().await, ["a!", "a.png", "a/b", "a0", "changes", "z"]);
    assert!(!bench.is_clean.load(Ordering::Relaxed), "housekeeping hears of it");
    // What changed lost its lease and can be leased again; what did not change is still held.
    let leased =
        bench.catalog.lease(10, "u", now_ms(), now_ms() + 60_000, false).await.expect("lease");
    let mut names: Vec<_> = leased.iter().map(|image| image.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a!", "changes"]);
}

#[tokio::test]
async fn more_than_pages_of_names_are_merged_to_the_last() {
    let names: Vec<String> = (0..3_500).map(|number| format!("{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names).await;
    assert_eq!(bench.known().await, names);
    let stay: Vec<&str> = names.iter().copied().filter(|text| text.ends_with('7')).collect();
    for text in &names {
        if !text.ends_with('7') {
            bench.source.remove(&name(text));
        }
    }
    bench.assert_back(&stay).await;
}

#[tokio::test]
async fn an_unreadable_part_keeps_what_is_known_of_it_and_nothing_else() {
    let bench = Bench::new(&["goes", "locked.png", "locked/1", "locked/2", "locked0", "z"]).await;
    bench.source.fail(|faults| faults.unreadable.extend([name("locked")]));
    for text in ["goes", "locked.png", "locked/2", "locked0"] {
        bench.source.remove(&name(text));
    }
    bench.assert_back(&["locked/1", "locked/2", "z"]).await;
    bench.source.fail(|faults| faults.unreadable.clear());
    bench.assert_back(&["locked/1", "z"]).await;
}

#[test]
fn hidden_parts_are_forgotten_once_they_are_passed() {
    let parts = ["a", "a!", "locked"].map(name).to_vec();
    let mut hidden = Hidden { parts };
    for (text, is_hidden) in [
        ("a", true),
        ("a!", true),
        ("a!/x", true),
        ("a.png", false),
        ("a/b", true),
        ("a0", false),
        ("locked", true),
        ("locked/a/b", true),
        ("lockedout/a", false),
        ("m", false),
    ] {
        assert_eq!(hidden.has(&name(text)), is_hidden, "{text}");
    }
    assert!(hidden.parts.is_empty());
}

#[tokio::test]
async fn a_list_cut_short_by_the_limit_takes_nothing_behind_it_for_gone() {
    let bench = Bench::new(&["a", "b", "c", "d"]).await;
    bench.source.fail(|faults| faults.images_max = 1);
    bench.source.remove(&name("a"));
    bench.source.remove(&name("d"));
    bench.assert_back(&["b", "c", "d"]).await;
}

#[tokio::test]
async fn a_missing_source_is_away_and_comes_back() {
    let bench = Bench::new(&["a", "b"]).await;
    bench.source.fail(|faults| faults.away = Some("unplugged".into()));
    bench.assert_away("unplugged").await;
    let since_ms = bench.followed.presence.away().map(|away| away.since_ms);
    bench.assert_away("unplugged").await;
    assert_eq!(bench.followed.presence.away().map(|away| away.since_ms), since_ms);
    bench.source.fail(|faults| faults.away = None);
    bench.source.remove(&name("b"));
    bench.assert_back(&["a"]).await;
}

#[tokio::test]
async fn a_list_that_breaks_off_protects_everything() {
    let names = ["a", "b", "c", "d", "e"];
    let bench = Bench::new(&names).await;
    bench.source.remove(&name("a"));
    bench.source.remove(&name("e"));
    bench.source.fail(|faults| faults.breaks_after = Some(2));
    bench.assert_away("broke off").await;
    bench.source.fail(|faults| faults.breaks_after = None);
    bench.assert_back(&["b", "c", "d"]).await;
}

#[tokio::test]
async fn a_suddenly_empty_source_is_away_unless_told_otherwise() {
    let bench = Bench::new(&["a", "b"]).await;
    bench.source.remove(&name("a"));
    bench.source.remove(&name("b"));
    bench.assert_away("no picture is left").await;
    // Away is away, also for hints.
    bench.reconciler().compare(&[under("a")]).await.expect_err("away");
    assert_eq!(bench.known().await, ["a", "b"]);
    bench.source.put(&name("a"), b"x");
    bench.assert_back(&["a"]).await;
    bench.source.remove(&name("a"));
    let trusting = Reconciler { away_when_emptied: false, ..bench.reconciler() };
    trusting.compare_all().await.expect("taken at its word");
    assert!(bench.known().await.is_empty());
    bench.assert_back(&[]).await;
}

#[tokio::test]
async fn the_last_picture_that_someone_deletes_is_gone() {
    let bench = Bench::new(&["a"]).await;
    bench.source.remove(&name("a"));
    bench.reconciler().compare(&[under("a")]).await.expect("compared");
    assert!(bench.known().await.is_empty());
}

#[tokio::test]
async fn another_disk_is_away_and_the_same_pictures_on_another_disk_are_not() {
    let names: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names).await;
    // Copied to another disk, with a few that were deleted there.
    bench.source.fail(|faults| faults.identity = "second".into());
    for text in &names[..10] {
        bench.source.remove(&name(text));
    }
    bench.assert_back(&names[10..]).await;
    // Pictures of someone else, of which one is called as ours.
    bench.source.fail(|faults| faults.identity = "third".into());
    for text in &names[10..] {
        bench.source.remove(&name(text));
    }
    bench.source.put(&name("12"), b"another size");
    bench.source.put(&name("other"), b"x");
    bench.assert_away("another one is in its place (third)").await;
    bench.reconciler().compare(&[under("other")]).await.expect_err("away");
    assert_eq!(bench.known().await, names[10..]);
    // The second one is mounted again.
    bench.source.fail(|faults| faults.identity = "second".into());
    bench.source.put(&name("11"), b"x");
    bench.assert_back(&["11", "12", "other"]).await;
}

#[tokio::test]
async fn a_disk_exchanged_while_it_is_compared_takes_nothing_with_it() {
    let bench = Bench::new(&["a", "b", "c"]).await;
    bench.source.remove(&name("b"));
    bench.source.fail(|faults| faults.held_at = Some(name("c")));
    let exchange = async {
        bench.source.fail(|faults| {
            faults.identity = "another".into();
            faults.held_at = None;
        });
    };
    let reconciler = bench.reconciler();
    let (compared, ()) = tokio::join!(reconciler.compare_all(), exchange);
    let error = compared.expect_err("exchanged");
    assert!(error.to_string().contains("exchanged"), "{error}");
    assert_eq!(bench.known().await, ["a", "b", "c"]);
}

#[tokio::test]
async fn hints_are_followed_while_everything_is_compared_and_win() {
    let names: Vec<String> = (0..3_000).map(|number| format!("m{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names).await;
    bench.source.fail(|faults| faults.held_at = Some(name("m01500")));
    let reconciler = bench.reconciler();
    let hints = async {
        // "a" lies behind the walk, "m02999" and "z" before it; it stands still until they are done.
        for text in ["a", "z"] {
            bench.source.put(&name(text), b"x");
        }
        bench.source.remove(&name("m02999"));
        let scopes = ["a", "z", "m02999"].map(under);
        reconciler.compare(&scopes).await.expect("compared");
        let known = bench.known().await;
        assert!(known.contains(&"a".into()) && known.contains(&"z".into()));
        assert!(!known.contains(&"m02999".into()));
        bench.source.fail(|faults| faults.held_at = None);
    };
    let (compared, ()) = tokio::join!(reconciler.compare_all(), hints);
    compared.expect("compared");
    let known = bench.known().await;
    assert!(known.contains(&"a".into()) && known.contains(&"z".into()), "the walk undid a hint");
    assert_eq!(known.len(), 3_001);
}

#[tokio::test]
async fn a_burst_of_hints_becomes_a_few_transactions() {
    let bench = Bench::new(&["a"]).await;
    let scopes: Vec<Scope> = (0..4_000).map(|number| under(&format!("burst/{number}"))).collect();
    for scope in &scopes {
        let Scope::Under(name) = scope else { unreachable!("names only") };
        bench.source.put(name, b"x");
    }
    bench.reconciler().compare(&scopes).await.expect("compared");
    assert_eq!(bench.catalog.counts().await.expect("counts").pending, 4_001);
}

#[tokio::test]
async fn confirming_asks_the_source_before_anything_is_taken_for_gone() {
    let bench = Bench::new(&["a"]).await;
    let (presence, source) = (&bench.followed.presence, &bench.source as &dyn Source);
    assert_eq!(presence.confirm(source).await, Ok(()));
    bench.source.fail(|faults| faults.identity = "another".into());
    assert!(presence.confirm(source).await.is_err());
    bench.source.fail(|faults| faults.away = Some("unplugged".into()));
    assert!(presence.confirm(source).await.is_err());
}

#[test]
fn fresh_and_future_files_settle_first() {
    let at = |modified_ms| Fingerprint { size_bytes: 1, version: String::new(), modified_ms };
    assert_eq!(due_ms(&at(0), 10_000, 500), 10_000);
    assert_eq!(due_ms(&at(9_900), 10_000, 500), 10_500);
    assert_eq!(due_ms(&at(99_000), 10_000, 500), 10_500);
}
