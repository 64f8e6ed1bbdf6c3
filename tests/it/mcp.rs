//! `image-search mcp`, driven by the client of the official SDK, as an assistant would.

use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};

use crate::harness::{World, picture};

type Client = RunningService<RoleClient, ()>;

async fn connect(world: &World) -> Client {
    let command = tokio::process::Command::from(world.command("mcp"));
    let process = TokioChildProcess::new(command).expect("the program starts");
    ().serve(process).await.expect("it speaks the protocol")
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> CallToolResult {
    let arguments = arguments.as_object().expect("an object").clone();
    let asked = CallToolRequestParams::new(tool).with_arguments(arguments);
    client.call_tool(asked).await.expect("an answer")
}

async fn ask(client: &Client, tool: &'static str, arguments: Value) -> Value {
    let result = call(client, tool, arguments).await;
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result.structured_content.expect("a structure")
}

fn world() -> World {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("some folder/{number}.png"), &picture(number));
    }
    assert!(world.run("index", &[]).status.success());
    world
}

async fn everything_works(client: &Client) {
    let info = client.peer_info().expect("it introduced itself");
    let server = info.server_info.as_ref().map(|server| server.name.as_str());
    assert_eq!(server, Some("image-search"));
    let tools = client.list_all_tools().await.expect("tools");
    let mut names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["rate", "search", "show", "similar"]);
    assert!(
        tools
            .iter()
            .all(|tool| tool.description.is_some() && tool.input_schema.contains_key("properties"))
    );

    let found = ask(client, "search", json!({"text": "a red apple", "limit": 3})).await;
    let matches = found["matches"].as_array().expect("matches");
    assert_eq!(matches.len(), 3);
    assert!(matches[0].get("thumbnail_url").is_none(), "addresses mean nothing to an assistant");
    let name = matches[0]["image_name"].as_str().expect("a name");

    let shown = call(client, "show", json!({"image_name": name, "width": 160})).await;
    let image = shown.content[0].as_image().expect("an image");
    assert_eq!(image.mime_type, "image/jpeg");
    assert!(image.data.starts_with("/9j/"), "a JPEG in base64");

    let alike = ask(client, "similar", json!({"image_name": name, "limit": 2})).await;
    assert_eq!(alike["matches"][0]["image_name"], name);
    let both =
        ask(client, "similar", json!({"image_name": name, "text": "blue", "limit": 2})).await;
    assert_eq!(both["matches"].as_array().map(Vec::len), Some(2));

    let rated = ask(client, "rate", json!({"jwt": found["jwt"], "user_feedback": 7})).await;
    assert_eq!(rated["user_feedback"], 7);

    for (tool, arguments, word) in [
        ("show", json!({"image_name": "nowhere.png"}), "nowhere.png"),
        ("similar", json!({"image_name": "nowhere.png"}), "nowhere.png"),
        ("search", json!({"text": ""}), "text"),
        ("search", json!({"text": "x", "limit": 100_000}), "limit"),
        ("rate", json!({"jwt": "x", "user_feedback": 7}), "jwt"),
    ] {
        let result = call(client, tool, arguments).await;
        let told = result.content[0].as_text().expect("a text").text.clone();
        assert!(result.is_error == Some(true) && told.contains(word), "{tool}: {told}");
    }
}

#[tokio::test]
async fn an_assistant_searches_looks_compares_and_rates_without_a_server() {
    let world = world();
    let client = connect(&world).await;
    everything_works(&client).await;
    client.cancel().await.expect("it ends");
    let export = world.run("feedback", &["export"]);
    assert!(String::from_utf8_lossy(&export.stdout).contains("a red apple"), "the rating was kept");
}

#[tokio::test]
async fn and_with_one() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(5, 0).await;
    let client = connect(&world).await;
    everything_works(&client).await;
    client.cancel().await.expect("it ends");
}

#[test]
fn without_an_index_it_says_what_to_do() {
    let output = World::new().run("mcp", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "only the protocol is spoken there");
    assert!(String::from_utf8_lossy(&output.stderr).contains("image-search index"));
}
