//! The program with its catalog in a real PostgreSQL: what is indexed and rated outlives kills of the program and restarts of the
//! database, and while that is away everybody is told. `make test-postgres` runs these.

use std::time::Instant;

use serde_json::json;
use test_postgres::{PASSWORD, Server as Postgres};

use crate::harness::{Server, World, picture};

const FIRST: u32 = 40;
const ALL: u32 = 160;

pub(crate) fn world_on(address: &str) -> World {
    World::new()
        .set("CATALOG", address)
        .variable("PGPASSWORD", PASSWORD)
        // That it is away is told before; on a busy machine a connection takes its time.
        .set("CATALOG__POSTGRES__ACQUIRE_TIMEOUT_MS", "20000")
        .set("EMBED__BATCH_MAX", "4")
        .set("INGEST__IN_FLIGHT_MAX", "8")
}

fn add(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.write(&format!("{}/{number}.png", number % 5), &picture(number));
    }
}

async fn readiness(server: &Server) -> serde_json::Value {
    server.get("/readyz").send().await.expect("an answer").json().await.expect("JSON")
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn kills_and_a_database_that_restarts_lose_nothing() {
    let mut postgres = Postgres::start().expect("a PostgreSQL server");
    let database = postgres.database().expect("an empty database");
    let world = world_on(&postgres.address(&database));
    add(&world, 0..FIRST);
    let server = world.serve().await;
    server.until_counts(u64::from(FIRST), 0).await;
    let answer = server.search(json!({"text": "tennis", "limit": 200})).await;
    assert_eq!(answer["matches"].as_array().map(Vec::len), Some(FIRST as usize));
    let rating = json!({"user_feedback": 7, "jwt": answer["jwt"]});
    let rate = |server: &Server| server.post("/api/v1/create-feedback").json(&rating);
    assert_eq!(rate(&server).send().await.expect("an answer").status(), 201);

    // Killed while it indexes.
    add(&world, FIRST..ALL);
    server
        .until("more is indexed", async || {
            let images = server.get_json("/api/v1/status").await["images"].clone();
            (images["indexed"].as_u64() > Some(u64::from(FIRST))).then_some(())
        })
        .await;
    server.kill_9();
    let server = world.serve().await;
    assert_eq!(rate(&server).send().await.expect("an answer").status(), 200, "it was kept");

    // The database ends, also in the middle of its work.
    postgres.stop();
    server
        .until("readyz tells", async || {
            let told = readiness(&server).await;
            (told["ready"] == false && told["catalog"]["ok"] == false).then_some(())
        })
        .await;
    told_while_away(&server, &rating).await;
    let postgres = tokio::task::spawn_blocking(move || {
        postgres.start_again().expect("up again");
        postgres
    })
    .await
    .expect("it runs");
    server.until_ready().await;
    server.until_counts(u64::from(ALL), 0).await;
    assert_eq!(rate(&server).send().await.expect("an answer").status(), 200);
    let answer = server.search(json!({"text": "tennis", "limit": 200})).await;
    assert_eq!(answer["matches"].as_array().map(Vec::len), Some(ALL as usize));

    let told = |sql: &str| postgres.sql(&database, sql).expect("run");
    assert_eq!(told("SELECT count(*), min(rating) FROM feedback"), "1|7");
    assert_eq!(told("SELECT count(*) FROM images WHERE state = 'indexed'"), ALL.to_string());
    assert_eq!(told("SELECT count(*) FROM vectors WHERE stored"), ALL.to_string());
    assert!(!server.log_text().contains(PASSWORD), "a password was logged");
    assert!(server.terminate().await.success());
    assert_eq!(told("SELECT count(*) FROM leases"), "0", "nothing is held after a stop");
}

/// What is asked while the database is away is answered so, with when to come again. Prints how long that took, which is no
/// condition: another machine is slower.
#[expect(clippy::print_stderr, reason = "docs/scaling.md quotes it")]
async fn told_while_away(server: &Server, rating: &serde_json::Value) {
    let mut took = Vec::new();
    for _ in 0..4 {
        for request in [
            server.get("/api/v1/status"),
            server.get("/api/v1/images"),
            server.post("/api/v1/create-feedback").json(rating),
        ] {
            let began = Instant::now();
            let answer = request.send().await.expect("an answer");
            took.push(began.elapsed());
            assert!(answer.headers().contains_key("retry-after"), "{:?}", answer.headers());
            assert_eq!(answer.status(), 503);
            let problem: serde_json::Value = answer.json().await.expect("JSON");
            assert_eq!(problem["code"], "catalog_unavailable");
        }
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("answered while the database is away: median {median:.0?}, longest {longest:.0?}");
}

#[test]
#[ignore = "needs PostgreSQL: make test-postgres"]
fn commands_use_the_database_and_say_what_is_wrong_with_it() {
    let postgres = Postgres::start().expect("a PostgreSQL server");
    let database = postgres.database().expect("an empty database");
    let world = world_on(&postgres.address(&database));
    add(&world, 0..3);
    let indexed = world.run("index", &[]);
    assert!(indexed.status.success(), "{}", String::from_utf8_lossy(&indexed.stderr));
    assert_eq!(
        postgres.sql(&database, "SELECT count(*) FROM images WHERE state = 'indexed'").as_deref(),
        Ok("3")
    );
    let backup = world.run("backup", &[&world.path("backup").display().to_string()]);
    let said = String::from_utf8_lossy(&backup.stderr).into_owned();
    assert!(!backup.status.success() && said.contains("pg_dump"), "{said}");
    let wrong =
        World::new().set("CATALOG", &postgres.address(&database)).variable("PGPASSWORD", "hunter2");
    let refused = wrong.run("index", &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("password authentication failed"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let shown = World::new().set("CATALOG", "postgres://me:hunter2@127.0.0.1/x").run("index", &[]);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("catalog.url") && !said.contains("hunter2"), "{said}");
}
