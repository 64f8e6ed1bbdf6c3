//! Filters, names and pages over HTTP, the same on the embedded store and on a Qdrant server.

use serde_json::{Value, json};

use crate::facts::Shot;
use crate::harness::{Server, World, ok_json, picture, problem};
use crate::qdrant::on_qdrant;
use crate::search::multipart;

const SEARCH: &str = "/api/v1/search-image";

pub(crate) fn fill(world: &World) {
    world.write("2024/rome/a.jpg", &Shot::default().jpeg());
    let old =
        Shot { taken: "2019:01:02 03:04:05", model: "D750", make: "NIKON", ..Shot::default() };
    world.write(
        "2019/oslo/b.jpg",
        &Shot { place: Some((59, 10)), shade: 90, size: (32, 48), ..old }.jpeg(),
    );
    for number in 0..8 {
        world.write(&format!("drawings/{number}.png"), &picture(number));
    }
}

fn names(answer: &Value, list: &str) -> Vec<String> {
    let name = |found: &Value| found["image_name"].as_str().expect("a name").to_owned();
    let mut names: Vec<String> = answer[list].as_array().expect(list).iter().map(name).collect();
    names.sort();
    names
}

async fn found(server: &Server, filter: Value) -> Vec<String> {
    names(
        &server.search(json!({"text": "anything", "limit": 50, "filter": filter})).await,
        "matches",
    )
}

#[tokio::test]
async fn half_typed_texts_are_finished_by_what_the_library_holds() {
    // Words of the list are looked at elsewhere.
    let world = World::new().set("SEARCH__VOCABULARY_TIME_PERCENT", "0");
    fill(&world);
    world.write("2024/rome/red-apple.png", &picture(20));
    world.write("IMG_1234.png", &picture(21));
    let server = world.serve().await;
    server.until_counts(12, 0).await;
    for (text, wanted) in [
        ("ro", json!([{"kind": "folder", "text": "2024/rome"}])),
        ("2024 ROM", json!([{"kind": "folder", "text": "2024/rome"}])),
        ("red%20app", json!([{"kind": "name", "text": "red apple"}])),
        ("img_12", json!([{"kind": "name", "text": "IMG_1234"}])),
        ("nik", json!([{"kind": "camera", "text": "NIKON D750"}])),
        ("eos%20r", json!([{"kind": "camera", "text": "Canon EOS R5"}])),
        ("apple%20red%20x", json!([])),
        ("r", json!([])),
        ("%22*%20-", json!([])),
    ] {
        let found = server.get_json(&format!("/api/v1/suggestions?text={text}")).await;
        assert_eq!(found["suggestions"], wanted, "{text}");
    }
    let few = server.get_json("/api/v1/suggestions?text=20&limit=1").await;
    assert_eq!(few["suggestions"].as_array().map(Vec::len), Some(1), "{few}");
    for query in ["text=ab&limit=0", "text=ab&limit=21", "language=fr"] {
        problem(server.get(&format!("/api/v1/suggestions?{query}")), 422, "invalid_request").await;
    }
}

async fn what_can_be_chosen_is_counted(server: &Server) {
    const FACETS: &str = "/api/v1/facets";
    let counts = async |body: Value| {
        ok_json(server.post(FACETS).json(&body).send().await.expect("an answer")).await
    };
    let among = json!(["2024/rome/a.jpg", "2019/oslo/b.jpg", "gone.jpg"]);
    let both = counts(json!({"image_names": among})).await;
    assert_eq!(both["total"], 2, "{both}");
    let one = |value: &str| json!({"value": value, "images": 1});
    assert_eq!(both["months"], json!([one("2019-01"), one("2024-05")]));
    let folders = ["2019", "2019/oslo", "2024", "2024/rome"].map(one);
    assert_eq!(both["folders"], json!(folders));
    let all = counts(json!({})).await;
    assert_eq!((&all["total"], &all["cameras"]), (&json!(10), &both["cameras"]));
    let narrowed = counts(json!({"filter": {"camera": "nikon", "folder": "2019"}})).await;
    assert_eq!((&narrowed["total"], &narrowed["folders"]), (&json!(1), &json!(&folders[..2])));
    assert_eq!(narrowed["orientations"], json!([one("portrait")]));
    assert_eq!(narrowed["cameras"], json!([one("NIKON D750")]));
    for (wrong, code) in [
        (json!({"filter": {"min_width": 0}}), "invalid_request"),
        (json!({"image_names": ["../a"]}), "bad_image_name"),
        (json!({"image_names": vec!["a.jpg"; 201]}), "invalid_request"),
    ] {
        problem(server.post(FACETS).json(&wrong), 422, code).await;
    }
}

async fn every_filter_is_obeyed(world: &World, server: &Server) {
    server.until_counts(10, 0).await;
    let (rome, oslo) = ("2024/rome/a.jpg", "2019/oslo/b.jpg");
    for (filter, wanted) in [
        (json!({"folder": "2024"}), vec![rome]),
        (json!({"folder": "2024/rome/"}), vec![rome]),
        (json!({"folder": "202"}), vec![]),
        (
            json!({"taken_after": "2018-12-31", "taken_before": "2019-02-01T00:00:00+01:00"}),
            vec![oslo],
        ),
        (json!({"taken_before": "2024-05-06T05:08:09Z"}), vec![oslo]),
        (json!({"taken_before": "2024-05-06T05:08:10Z"}), vec![oslo, rome]),
        (json!({"added_after": "2999-01-01"}), vec![]),
        (json!({"formats": ["jpeg", "heif"]}), vec![oslo, rome]),
        (json!({"orientation": "portrait"}), vec![oslo]),
        (json!({"orientation": "square"}), vec![]),
        (json!({"min_width": 49}), vec![]),
        (json!({"camera": "nikon d"}), vec![oslo]),
        (json!({"near": {"lat": 48.1, "lon": 11.1, "km": 20}}), vec![rome]),
        (json!({"near": {"lat": 48.1, "lon": 11.1, "km": 5}}), vec![]),
        (json!({"name_contains": "ROME/A"}), vec![rome]),
        (json!({"camera": "canon", "folder": "2019"}), vec![]),
    ] {
        assert_eq!(found(server, filter.clone()).await, wanted, "{filter}");
    }
    assert_eq!(found(server, json!({})).await.len(), 10);
    assert_eq!(found(server, json!({"formats": ["png"]})).await.len(), 8);
    let source = server.get_json("/api/v1/status").await["sources"][0]["location"].clone();
    assert_eq!(found(server, json!({"source": source})).await.len(), 10);
    let like = json!({"image_name": rome, "filter": {"folder": "drawings"}});
    assert_eq!(names(&server.search(like).await, "matches").len(), 8);
    what_can_be_chosen_is_counted(server).await;
    a_form_and_the_list_take_filters_too(server).await;
    // It obeys its new folder within seconds.
    std::fs::create_dir(world.image("moved")).expect("mkdir");
    std::fs::rename(world.image(rome), world.image("moved/a.jpg")).expect("moved");
    server
        .until("the picture is found where it is now", async || {
            let there = found(server, json!({"folder": "moved"})).await == ["moved/a.jpg"];
            (there && found(server, json!({"folder": "2024"})).await.is_empty()).then_some(())
        })
        .await;
    let list = server.get_json("/api/v1/images?folder=moved&formats=jpeg").await;
    assert_eq!(names(&list, "images"), ["moved/a.jpg"]);
}

async fn a_form_and_the_list_take_filters_too(server: &Server) {
    let fields: [(&str, Option<&str>, &[u8]); 2] = [
        ("image", Some("x.png"), &picture(3)),
        ("filter", None, b"{\"orientation\":\"portrait\"}"),
    ];
    let form = |fields: &[(&str, Option<&str>, &[u8])]| {
        let kind = "multipart/form-data; boundary=b";
        server.post(SEARCH).header("content-type", kind).body(multipart("b", fields))
    };
    let answer = ok_json(form(&fields).send().await.expect("an answer")).await;
    assert_eq!(names(&answer, "matches"), ["2019/oslo/b.jpg"]);
    let wrong: [(&str, Option<&str>, &[u8]); 2] = [fields[0], ("filter", None, b"{\"folder\":")];
    problem(form(&wrong), 422, "invalid_request").await;
    let list = server.get_json("/api/v1/images?formats=png&limit=5").await;
    assert_eq!((list["images"].as_array().map(Vec::len), &list["total"]), (Some(5), &json!(8)));
    let next = list["next"].as_str().expect("a next page");
    let rest = server.get_json(&format!("/api/v1/images?formats=png&limit=5&after={next}")).await;
    let mut both = [names(&list, "images"), names(&rest, "images")].concat();
    both.sort();
    both.dedup();
    assert_eq!((both.len(), rest.get("next")), (8, None));
    let near = server.get_json("/api/v1/images?near=59,10,1&taken_before=2020-01-01").await;
    assert_eq!(names(&near, "images"), ["2019/oslo/b.jpg"]);
}

#[tokio::test]
async fn filters_are_obeyed_on_the_embedded_store() {
    let world = World::new();
    fill(&world);
    let server = world.serve().await;
    every_filter_is_obeyed(&world, &server).await;
}

#[tokio::test]
async fn filters_are_obeyed_on_a_qdrant_server() {
    let on = on_qdrant().await;
    fill(&on.world);
    let server = on.world.serve().await;
    every_filter_is_obeyed(&on.world, &server).await;
}

#[tokio::test]
async fn wrong_filters_and_cursors_are_refused_with_the_field() {
    let (_world, server) = World::new().serve_alone().await;
    for (filter, field) in [
        (json!({"folder": "../x"}), "folder"),
        (json!({"folder": ""}), "folder"),
        (json!({"taken_after": "soon"}), "taken_after"),
        (json!({"taken_after": "2024-01-02", "taken_before": "2024-01-02"}), "taken_before"),
        (json!({"formats": ["exe"]}), "exe"),
        (json!({"orientation": "round"}), "round"),
        (json!({"min_width": 0}), "min_width"),
        (json!({"min_width": -1}), "-1"),
        (json!({"camera": "x".repeat(257)}), "camera"),
        (json!({"near": {"lat": 91, "lon": 0, "km": 1}}), "lat"),
        (json!({"near": {"lat": 1, "lon": 0}}), "km"),
        (json!({"name_contains": " "}), "name_contains"),
        (json!({"source": "folder:/nowhere"}), "nowhere"),
        (json!({"colour": "red"}), "colour"),
        (json!("2024"), "filter"),
    ] {
        let body = json!({"text": "x", "filter": filter});
        let told = problem(server.post(SEARCH).json(&body), 422, "invalid_request").await;
        let detail = told["detail"].as_str().expect("a detail").to_lowercase();
        assert!(detail.contains(field), "{filter}: {detail}");
    }
    for query in
        ["near=1,2", "near=a,b,c", "formats=exe", "taken_after=x", "min_width=0", "colour=red"]
    {
        let list = server.get(&format!("/api/v1/images?{query}"));
        problem(list, 422, "invalid_request").await;
    }
    for body in [
        json!({"text": "x", "after": "nonsense"}),
        json!({"text": "x", "after": "", "offset": 1}),
        json!({"text": "x", "names": "no"}),
    ] {
        problem(server.post(SEARCH).json(&body), 422, "invalid_request").await;
    }
}

#[tokio::test]
async fn names_and_pages_are_asked_for_and_nothing_changes_otherwise() {
    let world = World::new();
    for number in 0..30 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    world.write("Grandma's house.png", &picture(99));
    let server = world.serve().await;
    server.until_counts(31, 0).await;
    let plain = server.search(json!({"text": "tennis"})).await;
    let mut keys: Vec<_> = plain.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["jwt", "matches", "model_name", "text"]);
    let best = server.names("grandma s HOUSE", 1).await;
    assert_eq!(best, ["Grandma's house.png"]);
    let all = server.names("tennis", 100).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.search(json!({"text": "tennis", "limit": 4, "after": after})).await;
        let name = |found: &Value| found["image_name"].as_str().expect("a name").to_owned();
        seen.extend(page["matches"].as_array().expect("matches").iter().map(name));
        assert!(page["jwt"].is_string(), "each page can be rated");
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(seen, all);
    let foreign = json!({"text": "golf", "limit": 4, "after": after});
    problem(server.post(SEARCH).json(&foreign), 422, "invalid_request").await;
}
