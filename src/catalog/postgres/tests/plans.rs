//! What the database really does for the statements of every day: with a library in its tables, the catalog is used as servers and
//! workers use it, and the plan of each statement, those of triggers included, is read from the server's log (auto_explain).

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::catalog::{
    Claims, ConfiguredSource, Forgotten, Images, Memory, PageStart, Previews, Processes, SeenImage,
    Thumb,
};
use crate::types::{ImageName, Preview, Scope};

const ROWS: i64 = 30_000;
/// A sort of more is one of the library, and not of what was asked for.
const SORTED_MAX: f64 = 2_000.0;
/// Tables that grow with the library, or with what people do.
const LARGE: [&str; 10] = [
    "images",
    "vectors",
    "previews",
    "image_changes",
    "image_words",
    "content_facts",
    "impressions",
    "feedback",
    "remembered_ratings",
    "query_vectors",
];
/// Looking a row up costs about what the next one does, as on today's disks; with so few rows little would be looked up otherwise.
const EXPLAINED: &str = "?options=-c%20session_preload_libraries%3Dauto_explain%20-c%20auto_explain.log_min_duration%3D0%20-c%20auto_explain.log_nested_statements%3Don%20-c%20auto_explain.log_format%3Djson%20-c%20random_page_cost%3D1.1";
/// Of ten images in a row one waits; of a hundred, one failed, one is no picture and one is missing.
const FILL: &str = "
    INSERT INTO images (source, name, size_bytes, version, modified_ms, state, content_hash, format, width, height, taken_ms,
            taken_from, discovered_ms, indexed_ms, missing_since_ms, failure_code, failure)
        SELECT (SELECT key FROM sources WHERE id = 's'), 'folder ' || n % 100 || '/' || n || '.png', n, '1', n, state,
            CASE state WHEN 'indexed' THEN sha256(n::text::bytea) END, CASE state WHEN 'indexed' THEN 'png' END, 3, 2, n, 'file', 1, 1,
            CASE WHEN n % 100 = 4 THEN 5 END, CASE state WHEN 'failed' THEN 'corrupt_image' END,
            CASE state WHEN 'failed' THEN 'ends early' WHEN 'skipped' THEN 'video' END
        FROM (SELECT n, CASE WHEN n % 10 = 0 THEN 'pending' WHEN n % 100 = 1 THEN 'failed' WHEN n % 100 = 2 THEN 'skipped'
            ELSE 'indexed' END AS state FROM generate_series(1, {ROWS}) AS n) AS made;
    INSERT INTO vectors (model, content_hash, stored, format, width, height)
        SELECT '{MODEL}', content_hash, TRUE, 'png', 3, 2 FROM images WHERE content_hash IS NOT NULL;
    INSERT INTO previews SELECT content_hash, '\\x0102030405' FROM images WHERE content_hash IS NOT NULL;
    INSERT INTO content_facts (content_hash, camera) SELECT content_hash, 'R5' FROM images WHERE content_hash IS NOT NULL;
    INSERT INTO image_words SELECT id, ('''folder'':1 ''' || id || ''':2')::tsvector FROM images;
    INSERT INTO image_changes SELECT id, nextval('image_change_numbers') FROM images WHERE format IS NOT NULL;
    INSERT INTO impressions SELECT n::text, 'query ' || n % 1000, '{MODEL}', '[]', n FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO feedback SELECT n::text, 5, '[]', n, n FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO remembered_ratings SELECT n::text, 'somebody', NULL, n FROM generate_series(1, {ROWS}) AS n;
    UPDATE memory_state SET change = {ROWS};
    INSERT INTO query_vectors SELECT 'query ' || n, '{MODEL}', '\\x0000803f' FROM generate_series(1, {ROWS}) AS n;";

fn hash(number: i64) -> ContentHash {
    ContentHash::from_slice(&Sha256::digest(number.to_string())).expect("a hash")
}

fn image(number: i64) -> ImageName {
    conformance::name(&format!("folder {}/{number}.png", number % 100))
}

/// Numbers of images that are indexed and there.
fn indexed(count: usize) -> impl Iterator<Item = i64> {
    (5_000..).filter(|number| number % 10 == 5).take(count)
}

/// Each plan in the log, with its statement.
fn plans(log: &str) -> Vec<(String, Value)> {
    let mut plans = Vec::new();
    for part in log.split("  plan:\n").skip(1) {
        let lines = part.lines().take_while(|line| line.starts_with('\t'));
        let text: String = lines.collect::<Vec<_>>().join("\n");
        let mut plan: Value = serde_json::from_str(&text).expect("a plan as JSON");
        let statement = plan["Query Text"].as_str().expect("a statement").to_owned();
        plans.push((statement, plan["Plan"].take()));
    }
    plans
}

/// What is wrong with a plan, and with what lies below it.
fn faults(plan: &Value) -> Vec<String> {
    let text = |name: &str| plan[name].as_str().unwrap_or_default();
    let rows = plan["Plan Rows"].as_f64().unwrap_or_default();
    let mut faults = Vec::new();
    if text("Node Type") == "Seq Scan" && LARGE.contains(&text("Relation Name")) {
        faults.push(format!("walks over {}", text("Relation Name")));
    }
    if text("Node Type").ends_with("Sort") && rows > SORTED_MAX {
        faults.push(format!("sorts {rows} rows"));
    }
    let below = plan["Plans"].as_array().into_iter().flatten();
    faults.extend(below.flat_map(self::faults));
    faults
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn no_statement_of_every_day_walks_over_the_library_or_sorts_it() {
    let server = Server::start().expect("a PostgreSQL server of its own");
    let database = server.database().expect("an empty database");
    let address = format!("{}{EXPLAINED}", server.address(&database));
    let catalog = open(&address, PASSWORD).await.expect("open");
    let source = ConfiguredSource { id: "s".into(), location: "/s".into() };
    catalog.configure_sources(&[source], 1).await.expect("a source");
    let fill = FILL.replace("{ROWS}", &ROWS.to_string()).replace("{MODEL}", MODEL);
    server.sql(&database, &fill).expect("filled");
    // As the server does by itself after a while: also what was added to indexes since.
    server.sql(&database, "VACUUM ANALYZE").expect("known");
    let before = server.log().len();
    // Often enough that a plan for any value could take the place of those for these.
    for round in 0..7 {
        index(&catalog, round).await;
        compare(&catalog, round).await;
        answer(&catalog, round).await;
        learn(&catalog, round).await;
        tidy_up(&catalog, round).await;
    }
    let log = server.log();
    let plans = plans(&log[before..]);
    let mut statements: Vec<&str> = plans.iter().map(|(statement, _)| statement.as_str()).collect();
    statements.sort_unstable();
    statements.dedup();
    assert!(statements.len() > 70, "only {} statements were seen", statements.len());
    let mut wrong: Vec<String> = plans
        .iter()
        .flat_map(|(statement, plan)| {
            faults(plan).into_iter().map(move |fault| format!("{fault}: {statement}\n{plan}"))
        })
        .collect();
    wrong.sort_unstable();
    wrong.dedup_by_key(|fault| fault.split('\n').next().map(str::to_owned));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    catalog.close().await;
}

/// As a worker does.
async fn index(catalog: &PostgresCatalog, round: i64) {
    let (token, now) = (format!("lease {round}"), 1_000 + round);
    let leased = catalog.lease(32, &token, now, 100_000, false).await.expect("leased");
    assert_eq!(leased.len(), 32);
    let suspects = format!("suspects {round}");
    catalog.lease(1, &suspects, now, 100_000, true).await.expect("none is a suspect");
    catalog.renew(&token, 200_000).await.expect("renewed");
    let hashes: Vec<ContentHash> = leased.iter().map(|image| hash(-image.id)).collect();
    catalog.stored_contents(MODEL, &hashes, now).await.expect("asked");
    catalog.stored_contents(MODEL, &[hash(5)], now).await.expect("asked");
    let contents: Vec<_> = hashes.iter().map(|hash| (*hash, conformance::facts())).collect();
    catalog.intend_vectors(MODEL, &contents, now).await.expect("intended");
    let done: Vec<CompletedImage> = leased[..16]
        .iter()
        .zip(&hashes)
        .map(|(image, hash)| CompletedImage {
            image_id: image.id,
            hash: *hash,
            facts: conformance::facts(),
            header: Header::default(),
        })
        .collect();
    assert_eq!(catalog.complete(MODEL, &token, &done, now).await.expect("completed"), 16);
    let previews: Vec<_> = hashes.iter().map(|hash| (*hash, Preview::new(vec![1; 9]))).collect();
    catalog.keep_previews(&previews).await.expect("kept");
    let ids: Vec<i64> = leased.iter().map(|image| image.id).collect();
    let corrupt = conformance::corrupt();
    catalog.fail(&token, ids[16], &corrupt, Some(5_000), now).await.expect("failed");
    catalog.fail(&token, ids[17], &corrupt, None, now).await.expect("failed");
    catalog.skip(&token, ids[18], "video", now).await.expect("skipped");
    let changed = conformance::fingerprint("2");
    catalog.defer(&token, ids[19], &changed, 4_000).await.expect("deferred");
    catalog.gone(&token, ids[20], now).await.expect("gone");
    catalog.release(&token).await.expect("released");
    catalog.reclaim_expired(now).await.expect("reclaimed");
    catalog.reclaim_own(now).await.expect("reclaimed");
    catalog.next_due_ms().await.expect("asked");
    catalog.awaiting().await.expect("asked");
    catalog.retry(Some(&[image(101)])).await.expect("asked");
    catalog.indexing_model().await.expect("asked");
    let epoch = catalog.next_epoch(MODEL).await.expect("counted");
    assert_eq!(catalog.epoch(MODEL).await.expect("asked"), epoch);
    catalog.known_vectors(MODEL, &hashes).await.expect("asked");
}

/// As whoever compares a source does, and the pass over headers.
async fn compare(catalog: &PostgresCatalog, round: i64) {
    let now = 2_000 + round;
    assert!(catalog.claim("listing s", now, 100_000).await.expect("claimed"));
    for scope in [Scope::All, Scope::Under(conformance::name("folder 7"))] {
        for after in [None, Some(image(7_007))] {
            catalog.known("s", &scope, after.as_ref(), 1_000).await.expect("a page");
        }
    }
    let again = indexed(20).map(|number| SeenImage {
        name: image(number),
        fingerprint: conformance::fingerprint(&round.to_string()),
        due_ms: 0,
    });
    let new = (0..20).map(|number| conformance::seen(&format!("new {round}/{number}")));
    let seen: Vec<SeenImage> = again.chain(new).collect();
    let gone: Vec<ImageName> =
        (0..5).map(|number| image(20_005 + 50 * round + 10 * number)).collect();
    let recorded = catalog.record_while_claimed("listing s", "s", &seen, &gone, now).await;
    assert!(recorded.expect("recorded"));
    catalog.end_claim("listing s").await.expect("ended");
    catalog.sources().await.expect("asked");
    catalog.unnameable().await.expect("asked");
    catalog.without_facts("s", 0, 100).await.expect("asked");
}

/// As a replica does.
async fn answer(catalog: &PostgresCatalog, round: i64) {
    let hashes: Vec<ContentHash> = indexed(50 + round as usize).map(hash).collect();
    let named = catalog.images_of(&hashes, 10).await.expect("named");
    assert!(named.len() > 25, "{}", named.len());
    catalog.names_of(&hashes[40], None, 100).await.expect("asked");
    catalog.image(&image(7_005)).await.expect("asked");
    catalog.previews(&hashes).await.expect("asked");
    catalog.content_facts(&hashes[40]).await.expect("asked");
    let page = catalog.recent(50, PageStart::Offset(0)).await.expect("a page");
    let next = page.next.expect("there are more");
    catalog.recent(50, PageStart::After(next)).await.expect("a page");
    catalog.failures(50, PageStart::Offset(0)).await.expect("a page");
    catalog.failures(50, PageStart::After(image(7_001))).await.expect("a page");
    catalog.counts().await.expect("counted");
    catalog.skipped().await.expect("counted");
    let last = catalog.facets_since(ROWS / 2, 100).await.expect("a page").last;
    catalog.facets_since(last, 1_000).await.expect("a page");
    catalog.facets_of(&hashes).await.expect("asked");
    let names: Vec<ImageName> = indexed(200).map(image).collect();
    catalog.facets_named(&names).await.expect("asked");
    catalog.images_by_id(&indexed(20).collect::<Vec<_>>()).await.expect("asked");
    let words = ["folder".to_owned(), "7005".to_owned()];
    catalog.images_with_words(&words, false, 100).await.expect("asked");
    catalog.images_with_words(&words[1..], true, 100).await.expect("asked");
    catalog.stored_by_model().await.expect("counted");
    catalog.processes().await.expect("asked");
    catalog.used_models().await.expect("asked");
}

/// As ratings do.
async fn learn(catalog: &PostgresCatalog, round: i64) {
    let now = ROWS + round;
    let change = RatingChange { value: Some(5), images: None };
    let id = format!("rated {round}");
    catalog.save_feedback(&impression(&id, "query 7"), &change, now).await.expect("saved");
    catalog.save_feedback(&impression("7", "query 7"), &change, now).await.expect("saved");
    let thumbs = [Thumb { hash: hash(5), relevant: true }];
    catalog.remember_rating(&id, "somebody", Some(&thumbs)).await.expect("remembered");
    let state = catalog.memory_state().await.expect("asked");
    catalog.remembered(state.change - 10, 1_000).await.expect("a page");
    assert!(catalog.remembered_rating("9").await.expect("asked").is_some());
    let queries: Vec<String> = (0..200).map(|number| format!("query {number}")).collect();
    catalog.query_vectors(MODEL, &queries).await.expect("asked");
    let vector = [(format!("new query {round}"), vec![0.5])];
    catalog.keep_query_vectors(MODEL, &vector).await.expect("kept");
    catalog.feedback(None, 100).await.expect("a page");
    catalog.feedback(Some("7"), 100).await.expect("a page");
    catalog.forget_ratings(&Forgotten::Impression(id)).await.expect("forgotten");
    catalog.forget_ratings(&Forgotten::Before(round)).await.expect("forgotten");
    let query = format!("query {}", 900 + round);
    assert!(catalog.forget_ratings(&Forgotten::Query(query)).await.expect("forgotten") > 0);
}

/// As housekeeping does.
async fn tidy_up(catalog: &PostgresCatalog, round: i64) {
    let now = 3_000 + round;
    catalog.forget(&[image(25_005 + 10 * round)], now).await.expect("forgotten");
    catalog.forget_missing(5, 20, now).await.expect("forgotten");
    let token = format!("orphans {round}");
    let claimed = catalog.claim_orphans(MODEL, now, 100, &token, now, 100_000).await;
    assert!(!claimed.expect("claimed").is_empty());
    catalog.forget_orphans(MODEL, &token).await.expect("forgotten");
    catalog.stored_hashes(MODEL, Some(&hash(7)), 1_000).await.expect("a page");
    catalog.fold_counts().await.expect("folded");
}
