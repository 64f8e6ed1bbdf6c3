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
fn searches_take_pictures_unwanted_words_and_give_paths_and_a_page() {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("some folder/{number}.png"), &picture(number));
    }
    assert_eq!(world.run("index", &[]).status.code(), Some(0));
    let own = world.image("some folder/3.png").display().to_string();
    let like = world.run("search", &["--image", &own, "--paths", "--limit", "1"]);
    assert_eq!(text(&like.stdout), format!("{own}\n"), "{}", text(&like.stderr));
    let nul = world.run("search", &["--image", &own, "--paths", "-0", "--limit", "2"]);
    assert_eq!(text(&nul.stdout).matches('\0').count(), 2);
    let both = world.run("search", &["blue", "--image", &own, "--names"]);
    assert_eq!(text(&both.stdout).lines().count(), 5, "{}", text(&both.stderr));
    let order = |arguments: &[&str]| text(&world.run("search", arguments).stdout);
    let unwanted = order(&["dog", "--not", "cat", "--not", "red car", "--json"]);
    let found: Value = serde_json::from_str(&unwanted).expect("JSON");
    assert_eq!(found["text"], "dog not:\"cat\" not:\"red car\"");
    assert!(found["matches"][0]["image_url"].is_string(), "as the API answers it");
    let same = order(&["dog -cat -\"red car\"", "--names"]);
    assert_eq!(order(&["dog", "--not", "cat", "--not", "red car", "--names"]), same);

    let copied = world.path("seen.html");
    let browser = world.path("browser");
    let script = format!("#!/bin/sh\ncp \"$1\" '{}'\n", copied.display());
    std::fs::write(&browser, script).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&browser, mode).expect("executable");
    let world = world.variable("BROWSER", &browser.display().to_string());
    let opened = world.run("search", &["a red apple", "--open", "--limit", "3"]);
    assert_eq!(opened.status.code(), Some(0), "{}", text(&opened.stderr));
    let page = std::fs::read_to_string(&copied).expect("the browser was given a page");
    assert_eq!(page.matches("src='data:image/jpeg;base64,/9j/").count(), 3);
    assert!(
        page.contains("<title>a red apple</title>") && page.contains("/some%20folder/"),
        "{page}"
    );
}

#[test]
fn wrong_searches_say_once_what_to_do() {
    let world = World::new();
    let refused = |arguments: &[&str], code: i32, word: &str| {
        let output = world.run("search", arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(
            told.contains(word) && told.matches("error:").count() == 1,
            "{arguments:?}: {told}"
        );
        assert!(output.stdout.is_empty());
    };
    refused(&["dog"], 1, "image-search index --images");
    assert!(!world.path("data").exists(), "who only searches makes nothing");
    refused(&["dog", "--limit", "0"], 1, "1 to 200");
    refused(&["dog", "--limit", "201"], 1, "search.limit_max");
    refused(&["dog", "-0"], 1, "--paths");
    refused(&["dog", "--json", "--paths"], 2, "--paths");
    refused(&[], 2, "WORDS");
    refused(&["--image", "/no/such/file.png"], 1, "/no/such/file.png");
}

#[test]
fn a_search_leaves_everything_as_it_was() {
    let world = World::new();
    world.write("a.png", &picture(1));
    assert_eq!(world.run("index", &[]).status.code(), Some(0));
    world.write("later.png", &picture(2));
    let rows = || text(&world.run("status", &["--json"]).stdout);
    let before = rows();
    assert_eq!(text(&world.run("search", &["dog", "--names"]).stdout), "a.png\n");
    assert_eq!(rows(), before, "pictures that came meanwhile are not indexed by a search");
}

#[test]
fn the_configuration_is_shown_as_a_configuration() {
    let world = World::new().set("SERVER__PORT", "8080").set("UPLOADS__API_KEY", "hunter2");
    let shown = text(&world.run("config", &[]).stdout);
    assert!(shown.contains("\nport = 8080  # changed: was 3000"), "{shown}");
    assert!(shown.contains(&format!("data_dir = \"{}\"", world.path("data").display())));
    assert!(!shown.contains("hunter2"));
    let file = world.path("shown.toml");
    std::fs::write(&file, &shown).expect("written");
    let again = World::new().run("config", &["--config", &file.display().to_string()]);
    assert!(text(&again.stdout).contains("\nport = 8080"), "{}", text(&again.stderr));
    let defaults = text(&world.run("config", &["--defaults"]).stdout);
    assert!(defaults.contains("\nport = 3000\n"));
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&world.run("completions", &[shell]).stdout);
        for word in ["duplicates", "search", "--not", "--data-dir"] {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let page = text(&world.run("man", &[]).stdout);
    for word in [".TH image", "duplicates", "Search from the terminal", "\\-\\-not"] {
        assert!(page.contains(word), "no {word} in {page}");
    }
}

#[test]
fn options_of_every_command_are_explained_once() {
    let world = World::new();
    let top = text(&world.run("--help", &[]).stdout);
    assert_eq!(top.matches("--data-dir <DIR>").count(), 1, "{top}");
    for command in [
        &["search", "--help"][..],
        &["model", "--help"],
        &["model", "pull", "--help"],
        &["serve", "--help"],
    ] {
        let help = text(&world.run(command[0], &command[1..]).stdout);
        assert!(
            !help.contains("--data-dir <DIR>") && help.contains("image-search --help"),
            "{help}"
        );
    }
}

#[test]
fn the_built_in_model_has_a_path() {
    let world = World::new();
    let output = world.run("model", &["path", "emoji-clip"]);
    let path = text(&output.stdout).trim().to_owned();
    assert!(
        std::path::Path::new(&path).join("textual/model.onnx").is_file(),
        "{path}{}",
        text(&output.stderr)
    );
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

#[test]
fn a_picture_that_is_too_large_is_refused_before_it_is_read() {
    let world = World::new();
    world.write("a.png", &picture(1));
    // No machine has so much memory, and no disk: the file is one hole.
    let file = std::fs::File::options().write(true).open(world.image("a.png")).expect("open");
    file.set_len(1 << 42).expect("a hole");
    let name = world.image("a.png").display().to_string();
    for (command, key) in
        [("embed", "decode.file_bytes_max"), ("search", "query_picture_bytes_max")]
    {
        let refused = world.run(command, &["--image", &name]);
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains(key) && told.contains("a.png"), "{told}");
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
