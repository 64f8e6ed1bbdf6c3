//! The commands: help that teaches, exit codes that tell, messages that say the next step.

use serde_json::Value;

use crate::harness::{BROKEN_PICTURE, World, picture};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_shows_the_first_steps() {
    let help = text(&World::new().run("--help", &[]).stdout);
    for wanted in
        ["image-search serve --images", "image-search doctor", "Exit codes", "IMAGE_SEARCH_"]
    {
        assert!(help.contains(wanted), "no {wanted} in\n{help}");
    }
}

#[test]
fn index_then_search_status_and_failures() {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("{number}.png"), &picture(number));
    }
    let output = world.run("index", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("5 pictures indexed"), "{}", text(&output.stdout));
    let found: Value = serde_json::from_slice(
        &world.run("search", &["a red apple", "--json", "--limit", "3"]).stdout,
    )
    .expect("JSON");
    assert_eq!(found["matches"].as_array().map(Vec::len), Some(3));
    assert_eq!(text(&world.run("search", &["tennis"]).stdout).lines().count(), 5);
    let names = ["search", "a", "red", "apple", "--limit", "2", "--names"];
    let shown = text(&world.run(names[0], &names[1..]).stdout);
    let best = found["matches"].as_array().expect("matches").iter().take(2);
    let best: Vec<&str> = best.filter_map(|found| found["image_name"].as_str()).collect();
    assert_eq!(shown.lines().collect::<Vec<_>>(), best, "words need no quotation marks");
    let for_xargs = world.run("search", &[&names[1..], &["-0"]].concat()).stdout;
    assert_eq!(text(&for_xargs).matches(char::from(0)).count(), 2);
    world.write("notes.txt", b"words and nothing else");
    let output = world.run("index", &[]);
    assert_eq!(output.status.code(), Some(0), "a text is no failure");
    assert!(text(&output.stdout).contains("no picture: 1 x text"), "{}", text(&output.stdout));
    assert!(text(&world.run("status", &[]).stdout).contains("1 no pictures, left alone"));
    world.write("bad.png", BROKEN_PICTURE);
    let output = world.run("index", &[]);
    assert_eq!(output.status.code(), Some(3), "some failed");
    assert!(text(&output.stdout).contains("bad.png"));
    assert!(text(&world.run("failures", &[]).stdout).contains("_image"));
    assert!(text(&world.run("status", &[]).stdout).contains("5 indexed, 0 pending, 1 failed"));
    assert!(text(&world.run("failures", &["--retry"]).stdout).ends_with(": 1\n"));
    assert!(text(&world.run("status", &[]).stdout).contains("5 indexed, 1 pending, 0 failed"));
}

#[test]
fn embeddings_are_unit_vectors_one_a_line() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let file = world.image("a.png").display().to_string();
    let output =
        world.run("embed", &["--text", "tennis", "--text", "a red apple", "--image", &file]);
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", text(&output.stderr));
    assert_eq!(lines[2]["input"], file);
    for line in lines {
        let norm: f64 = line["embedding"]
            .as_array()
            .expect("numbers")
            .iter()
            .filter_map(Value::as_f64)
            .map(|x| x * x)
            .sum();
        assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    }
}

#[tokio::test]
async fn commands_go_through_a_running_server() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    assert!(text(&world.run("search", &["tennis"]).stdout).contains("a.png"));
    assert!(text(&world.run("status", &[]).stdout).contains(&server.url));
    let refused = world.run("index", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("--data-dir") && text(&refused.stderr).contains(&server.url),
        "{}",
        text(&refused.stderr)
    );
    let taken = server.url.rsplit(':').next().expect("a port").to_owned();
    let elsewhere = World::new().run("serve", &["--port", &taken]);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(text(&elsewhere.stderr).contains("--port"), "{}", text(&elsewhere.stderr));
    assert!(
        text(&world.run("doctor", &[]).stdout)
            .contains(&format!("the server at {} is ready", server.url))
    );
}

#[test]
fn doctor_says_what_to_do() {
    let world = World::new();
    let well = world.run("doctor", &["--log", "error"]);
    // The port may be taken on this machine; everything else must be well.
    let report = text(&well.stdout);
    assert!(
        report.lines().filter(|line| line.starts_with("FAIL")).all(|line| line.contains("port")),
        "{report}"
    );
    std::fs::remove_dir(world.path("images")).expect("removed");
    let ill = world.run("doctor", &[]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains("mkdir -p"), "{}", text(&ill.stdout));
}

#[test]
fn wrong_configuration_is_refused_by_name() {
    let unknown = World::new().set("SERVER__PROT", "1").run("status", &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("prot"), "{}", text(&unknown.stderr));
    let model = World::new();
    let output = model.run("index", &["--model", "no-such-model"]);
    assert!(!output.status.success());
    assert_eq!(World::new().run("serve", &["--no-such-flag"]).status.code(), Some(2));
}
