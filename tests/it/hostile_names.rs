//! Names of files that say more than a name to a terminal or in a log: escape sequences, line ends, marks that turn the
//! direction of the text; and names that are no UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use crate::harness::{BROKEN_PICTURE, World, picture};

const HOSTILE: [&str; 4] = [
    "esc\u{1b}[2J\u{1b}]0;owned\u{7}.png",
    "line\n2026-01-01T00:00:00Z  INFO all is well.png",
    "gnp.\u{202e}cod.png",
    "c1\u{9b}31m\u{2028}.png",
];

/// What a terminal must never get.
fn harmful(text: &str) -> Option<char> {
    text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}')
    })
}

fn check(what: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    assert_eq!(harmful(&text), None, "{what}: {text:?}");
    let faked = text.lines().find(|line| line.starts_with("2026-01-01T00:00:00Z"));
    assert_eq!(faked, None, "{what} has a line that a name made up");
    text
}

#[tokio::test]
async fn terminals_and_logs_get_no_escape_sequences_and_no_made_up_lines() {
    for format in ["pretty", "json"] {
        let world = World::new().set("LOG__FORMAT", format).set("LOG__LEVEL", "debug");
        for (number, name) in HOSTILE.iter().enumerate() {
            world.write(name, &picture(number as u32));
            world.write(&format!("broken-{name}"), BROKEN_PICTURE);
        }
        let server = world.serve().await;
        server.until_counts(4, 4).await;
        let forgotten = world.run("forget", &["esc\u{1b}[2J"]);
        check("forget", &[forgotten.stdout, forgotten.stderr].concat());
        for arguments in [&["failures"][..], &["search", "x"], &["status"], &["doctor"]] {
            let output = world.run(arguments[0], &arguments[1..]);
            let shown = check(arguments[0], &[output.stdout, output.stderr].concat());
            if arguments[0] != "status" && arguments[0] != "doctor" {
                assert!(shown.contains("esc\\u{1b}[2J"), "it is shown, escaped: {shown}");
            }
        }
        let answer = server.names("x", 10).await;
        assert!(
            answer.contains(&HOSTILE[0].to_owned()),
            "programs get the name as it is: {answer:?}"
        );
        let deleted = server.get("/api/v1/images/esc%1b%0a").send().await.expect("an answer");
        assert_eq!(deleted.status(), 404);
        assert_eq!(server.terminate().await.code(), Some(0));
        let log = std::fs::read(world.path("log.txt")).expect("read");
        let log = check("the log", &log);
        assert!(log.contains("broken-esc"), "the log names it");
        let index = world.run("index", &["--log", "debug"]);
        check("index", &[index.stdout, index.stderr].concat());
    }
}

#[tokio::test]
async fn names_that_are_no_utf_8_are_among_the_failures() {
    let world = World::new();
    world.write("a.png", &picture(1));
    let odd = |bytes: &[u8]| world.path("images").join(OsStr::from_bytes(bytes));
    std::fs::write(odd(b"caf\xe9.png"), picture(2)).expect("written");
    std::fs::create_dir(odd(b"\xff\x1b[31m")).expect("mkdir");
    std::fs::write(odd(b"\xff\x1b[31m/b.png"), picture(3)).expect("written");
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let failures = server.get_json("/api/v1/failures").await;
    let told = |failures: &Value| -> Vec<String> {
        let unnameable = failures["unnameable"].as_array().expect("a list");
        unnameable.iter().map(|file| file["shown"].as_str().expect("text").to_owned()).collect()
    };
    let names = told(&failures);
    assert_eq!(names.len(), 2, "{failures}");
    assert!(names.iter().any(|name| name.contains("caf\u{fffd}.png")), "{names:?}");
    assert!(names.iter().all(|name| harmful(name).is_none()), "{names:?}");
    assert!(failures["unnameable"][0]["reason"].as_str().is_some_and(|why| why.contains("UTF-8")));
    let output = world.run("failures", &[]);
    let shown = check("failures", &[output.stdout, output.stderr].concat());
    assert!(shown.contains("caf\u{fffd}.png") && shown.contains("UTF-8"), "{shown}");
    assert_eq!(server.terminate().await.code(), Some(0));
    // Renamed, it is no failure any more.
    std::fs::rename(odd(b"caf\xe9.png"), odd(b"cafe.png")).expect("renamed");
    std::fs::remove_dir_all(odd(b"\xff\x1b[31m")).expect("removed");
    let server = world.serve().await;
    server.until_counts(2, 0).await;
    assert_eq!(told(&server.get_json("/api/v1/failures").await), Vec::<String>::new());
}
