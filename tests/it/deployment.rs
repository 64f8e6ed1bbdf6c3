//! What the container files and the dashboard name must exist in the program: settings, flags, commands, metrics.

use image_search::config::Config;
use serde_json::{Value, json};

use crate::harness::{World, ok_json, picture, repository};

fn file(name: &str) -> String {
    std::fs::read_to_string(repository().join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `${NAME:-default}` becomes its default, `${NAME:?message}` a text; all else stays.
fn filled_in(value: &str) -> String {
    let mut text = value.trim().trim_matches('"').to_owned();
    while let Some(start) = text.find("${") {
        let end = start + text[start..].find('}').expect("a closing brace");
        let default = text[start..end]
            .split_once(":-")
            .map_or("some-text", |(_, default)| default)
            .to_owned();
        text.replace_range(start..=end, &default);
    }
    text
}

/// The settings of the program that a file gives, as `NAME: value` or `NAME=value`.
fn settings(name: &str) -> Vec<(String, String)> {
    let text = file(name);
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("ENV ").trim_end_matches('\\').trim());
    let pairs = lines
        .filter(|line| line.starts_with("IMAGE_SEARCH_"))
        .map(|line| line.split_once([':', '=']).expect("a value"));
    pairs.map(|(key, value)| (key.to_owned(), filled_in(value))).collect()
}

#[test]
fn settings_in_the_container_files_are_known_and_valid() {
    let (image, compose) = (settings("Dockerfile"), settings("compose.yaml"));
    assert!(image.len() >= 4 && compose.len() >= 3, "{image:?} {compose:?}");
    let all = image.into_iter().chain(compose).collect::<Vec<_>>();
    let config =
        Config::load(None, all.clone(), vec![]).unwrap_or_else(|error| panic!("{error}: {all:?}"));
    assert!(config.vector_store.url.starts_with("qdrant+http://qdrant:"));
    assert_eq!((config.server.host.as_str(), config.server.port), ("0.0.0.0", 3000));
}

#[test]
fn settings_of_several_machines_are_known_and_valid() {
    let compose = settings("compose.scale.yaml");
    let chart = file("deploy/helm/templates/_helpers.tpl");
    let names = chart.split("{name: ").filter_map(|rest| rest.split(',').next());
    let value = |name: &str| match name {
        "IMAGE_SEARCH_CATALOG__URL" => "postgres://me@host/db",
        "IMAGE_SEARCH_VECTOR_STORE__URL" => "qdrant+https://host:6334",
        _ => "json",
    };
    let chart: Vec<_> = names
        .filter(|name| name.starts_with("IMAGE_SEARCH_"))
        .map(|name| (name.to_owned(), value(name).to_owned()))
        .collect();
    assert!(compose.len() >= 9 && chart.len() >= 8, "{compose:?} {chart:?}");
    for (settings, role) in [(compose, "api"), (chart, "worker")] {
        let role = vec![("role", role.into())];
        let config = Config::load(None, settings.clone(), role);
        let config = config.unwrap_or_else(|error| panic!("{error}: {settings:?}"));
        config.check_role().expect("all that is shared is there");
    }
}

#[test]
fn commands_and_flags_in_the_container_files_exist() {
    let world = World::new();
    let lists = [file("Dockerfile"), file("compose.yaml"), file("compose.scale.yaml")].concat();
    let lines = lists
        .lines()
        .filter_map(|line| line.split_once("CMD [").or_else(|| line.split_once("command: [")));
    let mut checked = Vec::new();
    for (_, list) in lines {
        let words: Vec<String> =
            serde_json::from_str(&format!("[{list}")).expect("a list of words");
        let ours: Vec<&String> = words.iter().filter(|word| *word != "image-search").collect();
        // Commands of other programs' containers are not ours.
        let others = ["CMD", "bash", "server"];
        let is_ours = |word: &&&String| !others.contains(&word.as_str()) && !word.contains(' ');
        let Some(command) = ours.first().filter(is_ours) else {
            continue;
        };
        let help = world.run(command, &["--help"]);
        assert!(help.status.success(), "there is no command {command}");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        for flag in ours.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag.as_str()), "{command} has no {flag}");
        }
        checked.push((*command).clone());
    }
    assert!(
        checked.contains(&"serve".to_owned()) && checked.contains(&"health".to_owned()),
        "{checked:?}"
    );
    assert!(checked.len() >= 3, "{checked:?}");
}

#[test]
fn what_is_scraped_is_a_service() {
    let compose = file("compose.yaml");
    for (name, target) in [
        ("deploy/prometheus.yml", "image-search:3000"),
        ("deploy/grafana/provisioning/datasources/prometheus.yml", "prometheus:9090"),
    ] {
        assert!(file(name).contains(target), "{name} does not name {target}");
        let service = target.split(':').next().expect("a name");
        assert!(
            compose.contains(&format!("\n  {service}:\n")),
            "compose.yaml has no service {service}"
        );
    }
}

/// Names of metrics in a query, with the label they are asked with, if any.
fn metrics_in(query: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find("image_search_") {
        rest = &rest[start..];
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        rest = &rest[name.len()..];
        let label =
            rest.strip_prefix('{').and_then(|labels| labels.split('}').next()).map(str::to_owned);
        found.push((name, label));
    }
    found
}

#[tokio::test]
async fn every_query_of_the_dashboard_finds_a_metric_of_the_program() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let jwt = server.search(json!({"text": "tennis"})).await["jwt"].clone();
    ok_json(
        server
            .post("/api/v1/create-feedback")
            .json(&json!({"user_feedback": 5, "jwt": jwt}))
            .send()
            .await
            .expect("an answer"),
    )
    .await;
    let scraped =
        server.get("/metrics").send().await.expect("an answer").text().await.expect("a text");
    let dashboard: Value =
        serde_json::from_str(&file("deploy/grafana/dashboards/image-search.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = 0;
    for panel in panels {
        assert!(
            panel["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{} says nothing",
            panel["title"]
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{} has no unit",
            panel["title"]
        );
        for target in panel["targets"].as_array().expect("queries") {
            let query = target["expr"].as_str().expect("a query");
            let metrics = metrics_in(query);
            assert!(!metrics.is_empty(), "{query} asks for nothing of ours");
            for (name, label) in metrics {
                let found = scraped.lines().any(|line| {
                    let rest = line.strip_prefix(&name);
                    rest.is_some_and(|rest| {
                        rest.starts_with(['{', ' '])
                            && label.as_ref().is_none_or(|label| rest.contains(label))
                    })
                });
                assert!(found, "{}: the program exports no {name}{label:?}", panel["title"]);
            }
            queries += 1;
        }
    }
    assert!(panels.len() >= 10 && queries >= panels.len());
    assert!(
        world
            .command("health")
            .env("IMAGE_SEARCH_SERVER__PORT", server.url.rsplit(':').next().expect("a port"))
            .status()
            .expect("it runs")
            .success()
    );
    server.kill_9();
    assert!(
        !world
            .command("health")
            .env("IMAGE_SEARCH_SERVER__PORT", "9")
            .status()
            .expect("it runs")
            .success()
    );
}
