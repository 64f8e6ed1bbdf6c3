//! Processes with one role each on a real PostgreSQL: what is shared, who does what is done once, how they end, and how all of
//! them change over to another model. `make test-postgres` runs these.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::fleet::{Fleet, instance};
use crate::harness::{Server, World, picture, problem, repository};

const PICTURES: u32 = 120;

fn golden(name: &str) -> PathBuf {
    repository().join("crates/clip/tests/golden").join(name)
}

fn bundled() -> PathBuf {
    PathBuf::from("emoji-clip")
}

fn add(fleet: &Fleet, numbers: std::ops::Range<u32>) {
    for number in numbers {
        std::fs::write(fleet.images().join(format!("{number}.png")), picture(number)).expect("put");
    }
}

/// All pictures with their scores for a query.
async fn ranking(server: &Server) -> BTreeMap<String, String> {
    let answer = server.search(json!({"text": "a photo of a dog", "limit": 200})).await;
    let entry = |found: &Value| {
        let score = found["score"].as_f64().expect("a score");
        (found["image_name"].as_str().expect("a name").to_owned(), format!("{score:.4}"))
    };
    answer["matches"].as_array().expect("matches").iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn replicas_share_everything_and_workers_do_what_is_done_once() {
    let fleet = Fleet::new().await;
    add(&fleet, 0..PICTURES);
    // Replicas first: they wait for a worker.
    let apis = [fleet.machine("api", &bundled()), fleet.machine("api", &bundled())];
    let first = apis[0].start();
    first
        .until("it says that it waits for a worker", async || {
            let waiting = first.get("/readyz").send().await.expect("an answer");
            assert_eq!(waiting.status(), 503);
            waiting.text().await.expect("a body").contains("no worker has begun").then_some(())
        })
        .await;
    problem(
        first.post("/api/v1/search-image").json(&json!({"text": "x"})),
        503,
        "store_unavailable",
    )
    .await;
    let machines = [fleet.machine("worker", &bundled()), fleet.machine("worker", &bundled())];
    let mut workers = vec![machines[0].serve().await, machines[1].serve().await];
    first.until_ready().await;
    let second = apis[1].serve().await;
    let status = first.until_counts(u64::from(PICTURES), 0).await;
    assert_eq!(status["store"]["vectors"], PICTURES);

    // A worker answers nothing but how it is.
    problem(workers[0].get("/api/v1/status"), 404, "not_found").await;
    problem(workers[0].post("/api/v1/search-image").json(&json!({"text": "x"})), 404, "not_found")
        .await;
    for (server, role, machine) in
        [(&workers[0], "worker", &machines[0]), (&first, "api", &apis[0])]
    {
        let metrics = server.get("/metrics").send().await.expect("an answer").text().await;
        let line =
            format!("image_search_process{{role=\"{role}\",instance=\"{}\"}} 1", instance(machine));
        let metrics = metrics.expect("text");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }

    // A token of one is good for the other.
    let answer = first.search(json!({"text": "tennis"})).await;
    let rating = json!({"user_feedback": 9, "jwt": answer["jwt"]});
    let rated = second.post("/api/v1/create-feedback").json(&rating).send().await;
    assert_eq!(rated.expect("an answer").status(), 201);
    let again = first.post("/api/v1/create-feedback").json(&rating).send().await;
    assert_eq!(again.expect("an answer").status(), 200);
    assert_eq!(ranking(&first).await, ranking(&second).await);

    // Everybody is seen, and one of the workers does what one does for all.
    let processes = first
        .until("four processes are seen that indexed each picture once", async || {
            let processes = first.get_json("/api/v1/status").await["processes"].as_array()?.clone();
            let indexed = processes.iter().map(|process| process["images_indexed"].as_u64());
            let is_all = indexed.sum::<Option<u64>>()? == u64::from(PICTURES);
            (processes.len() == 4 && is_all).then_some(processes)
        })
        .await;
    assert!(processes.iter().all(|process| process["host"] != ""), "{processes:?}");
    let names = machines.each_ref().map(instance);
    let held = fleet.leaders();
    assert!(held.iter().all(|holder| names.contains(holder)), "{held:?} are no workers");
    let listing = || {
        fleet.sql("SELECT holder FROM leases WHERE token LIKE 'work/listing%'").trim().to_owned()
    };
    let leader = first
        .until("a worker lists", async || names.iter().position(|name| *name == listing()))
        .await;
    let before = names[leader].clone();
    workers.remove(leader).kill_9();
    add(&fleet, PICTURES..PICTURES + 5);
    first.until_counts(u64::from(PICTURES) + 5, 0).await;
    let is_taken_over = async || (listing() == names[1 - leader]).then_some(());
    first.until("the other one has taken over", is_taken_over).await;
    let dead = first
        .until("the dead one is told of", async || {
            let status = first.get_json("/api/v1/status").await;
            let processes = status["processes"].as_array()?.clone();
            processes.into_iter().find(|process| process["alive"] == false)
        })
        .await;
    assert_eq!(dead["instance"].as_str(), Some(before.as_str()));

    // The end in the middle of work leaves nothing leased.
    add(&fleet, 1000..1000 + PICTURES);
    let survivor = workers.pop().expect("one is left");
    first
        .until("more is indexed", async || {
            let images = first.get_json("/api/v1/status").await["images"].clone();
            (images["indexed"].as_u64()? > u64::from(PICTURES) + 5).then_some(())
        })
        .await;
    assert!(survivor.terminate().await.success());
    // What the dead one held may not have run out yet.
    let held_by_others = format!("SELECT token FROM leases WHERE holder <> '{before}'");
    assert_eq!(fleet.sql(&held_by_others), "", "the survivor has given everything back");
    assert_eq!(fleet.sql("SELECT count(*) FROM images WHERE lease_token IS NOT NULL"), "0");
    assert!(first.terminate().await.success());
    assert!(second.terminate().await.success());
    let left = fleet.sql("SELECT instance FROM processes");
    assert_eq!(left, before, "only who was killed did not say goodbye");
    fleet.close().await;
}

/// Searches on both until `done`: every answer is whole, and of one model. Returns how many there were of the next.
async fn watch(
    servers: [&Server; 2],
    former: &BTreeMap<String, String>,
    next: &BTreeMap<String, String>,
    done: impl AsyncFn() -> bool,
) -> [u32; 2] {
    let mut answers_of_next = [0, 0];
    loop {
        let is_done = done().await;
        for (server, count) in servers.into_iter().zip(&mut answers_of_next) {
            let now = ranking(server).await;
            if now == *next {
                *count += 1;
            } else {
                assert_eq!(now, *former, "an answer of neither model");
                assert_eq!(*count, 0, "back to the former model");
            }
        }
        if is_done && answers_of_next.iter().all(|count| *count > 0) {
            return answers_of_next;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_switch_made_by_one_is_followed_by_all_and_no_answer_mixes_models() {
    let (openclip, clip) = (golden("openclip"), golden("hf-clip"));
    let slow = |world: World| world.set("EMBED__BATCH_MAX", "1").set("INGEST__IN_FLIGHT_MAX", "2");
    let alone = slow(World::new().model(&clip.display().to_string()));
    for number in 0..PICTURES {
        alone.write(&format!("{number}.png"), &picture(number));
    }
    let server = alone.serve().await;
    server.until_counts(u64::from(PICTURES), 0).await;
    let next = ranking(&server).await;
    assert!(server.terminate().await.success());

    let fleet = Fleet::new().await;
    add(&fleet, 0..PICTURES);
    let [mut one, mut two] = [0, 1].map(|_| slow(fleet.machine("worker", &openclip)));
    let [mut three, mut four] = [0, 1].map(|_| fleet.machine("api", &openclip));
    let workers = [one.serve().await, two.serve().await];
    let apis = [three.serve().await, four.serve().await];
    apis[0].until_counts(u64::from(PICTURES), 0).await;
    let former = ranking(&apis[1]).await;
    assert_ne!(former, next);
    // As an update goes: replicas first, then one worker after the other.
    for api in apis {
        assert!(api.terminate().await.success());
    }
    let hf_clip = clip.display().to_string();
    [three, four] = [three, four].map(|machine| machine.model(&hf_clip));
    let apis = [three.serve().await, four.serve().await];
    assert_eq!(ranking(&apis[0]).await, former, "the active model answers, whatever is configured");
    let [former_one, former_two] = workers;
    assert!(former_one.terminate().await.success());
    one = one.model(&hf_clip);
    let renewed = one.serve().await;
    // The other worker does not have the new model, and must not count pictures as done meanwhile.
    let is_switched = async || {
        fleet.sql("SELECT count(*) FROM vectors WHERE stored AND model LIKE 'hf-clip%'")
            == PICTURES.to_string()
    };
    watch([&apis[0], &apis[1]], &former, &next, is_switched).await;
    assert!(former_two.terminate().await.success());
    two = two.model(&hf_clip);
    let also_renewed = two.serve().await;
    add(&fleet, PICTURES..PICTURES + 20);
    for api in &apis {
        let status = api.until_counts(u64::from(PICTURES) + 20, 0).await;
        assert_eq!(
            (&status["model"]["name"], &status["store"]["vectors"]),
            (&json!("hf-clip"), &json!(PICTURES + 20))
        );
    }
    for server in apis.into_iter().chain([renewed, also_renewed]) {
        assert!(server.terminate().await.success());
    }
    assert_eq!(fleet.sql("SELECT count(*) FROM leases"), "0");
    fleet.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-postgres"]
async fn a_worse_model_is_held_back_by_one_worker_for_all_until_it_is_forced() {
    let (openclip, clip) = (golden("openclip"), golden("hf-clip"));
    let fleet = Fleet::new().await;
    add(&fleet, 0..40);
    let careful = |world: World| {
        world.set("LEARNING__SWITCH_GATE", "veto").set("LEARNING__GATE_QUERIES_MIN", "8")
    };
    let [one, two] = [0, 1].map(|_| careful(fleet.machine("worker", &openclip)));
    let api = careful(fleet.machine("api", &openclip));
    let workers = [one.serve().await, two.serve().await];
    let replica = api.serve().await;
    replica.until_counts(40, 0).await;
    crate::switch_gate::rate(&replica, 10, true).await;
    for server in workers.into_iter().chain([replica]) {
        assert!(server.terminate().await.success());
    }
    // A replica answers with the model that is active, and learns here where the next one is.
    let hf_clip = clip.display().to_string();
    let api = api.model(&hf_clip);
    let replica = api.serve().await;
    let [one, two] = [one, two].map(|machine| machine.model(&hf_clip));
    let workers = [one.serve().await, two.serve().await];
    let model = crate::switch_gate::until_held(&replica).await;
    assert_eq!(
        (&model["name"], &model["held"]["comparison"]["verdict"]),
        (&json!("openclip"), &json!("worse"))
    );
    add(&fleet, 40..45);
    replica.until_counts(45, 0).await;
    let decisions = "SELECT count(*) FROM gate_decisions WHERE gate = 'switch'";
    assert_eq!(fleet.sql(decisions), "1", "one of them decided");
    assert!(one.run("model", &["switch", "--force"]).status.success());
    crate::models::until_answering(&replica, "hf-clip").await;
    replica.until_counts(45, 0).await;
    for server in workers.into_iter().chain([replica]) {
        assert!(server.terminate().await.success());
    }
    fleet.close().await;
}

#[test]
#[ignore = "needs PostgreSQL: make test-postgres"]
fn tables_are_migrated_on_demand_and_those_of_a_later_version_are_left_alone() {
    let postgres = test_postgres::Server::start().expect("a PostgreSQL server");
    let database = postgres.database().expect("an empty database");
    let world = crate::postgres::world_on(&postgres.address(&database));
    for _ in 0..2 {
        let migrated = world.run("migrate", &[]);
        let said = String::from_utf8_lossy(&migrated.stdout).into_owned();
        assert!(migrated.status.success() && said.contains("tables of this version"), "{said}");
    }
    let later =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of tomorrow', TRUE, '\\x00', 0)";
    postgres.sql(&database, later).expect("run");
    for command in ["migrate", "index"] {
        let refused = world.run(command, &[]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{command} went on");
        assert!(said.contains("later version") && said.contains("9999"), "{command}: {said}");
    }
}
