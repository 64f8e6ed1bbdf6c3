//! Commands that change the index while a server has it open: the server does the work, through a socket that only its owner can
//! open, and the command tells it as if it had done it itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Output;

use crate::harness::{BROKEN_PICTURE, World, picture};

const PICTURES: u32 = 12;

fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

fn assert_tells(world: &World, arguments: &[&str], words: &str) {
    let (command, arguments) = arguments.split_first().expect("a command");
    let output = tokio::task::block_in_place(|| world.run(command, arguments));
    let text = text_of(&output);
    assert!(output.status.success() && text.contains(words), "{command} {arguments:?}: {text}");
}

fn world() -> World {
    let world = World::new();
    for number in 0..PICTURES {
        world.write(&format!("{number}.png"), &picture(number));
    }
    world.write("broken.png", BROKEN_PICTURE);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_server_verifies_copies_prunes_and_retries() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 1).await;
    let mode = std::fs::metadata(world.path("data/control.sock")).expect("a socket").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_tells(&world, &["store", "verify"], "12 vectors, as they shall be");
    assert_tells(&world, &["model", "prune"], "There are no vectors of other models");
    assert_tells(&world, &["failures", "--retry"], "being tried again: 1");
    server.until_counts(PICTURES.into(), 1).await;
    let elsewhere = world.path("elsewhere").display().to_string();
    let copy = ["store", "copy", "embedded", &format!("embedded:{elsewhere}")];
    assert_tells(&world, &copy, "12 vectors, 12 sent now");
    assert_tells(&world, &copy, "12 vectors, 0 sent now");
    assert_eq!(server.names("picture", 100).await.len(), PICTURES as usize, "it goes on answering");
    // What a server refuses is told as if it had been refused here.
    let refused = world.run("store", &["copy", "embedded", "nowhere"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text_of(&refused).contains("a vector store is"), "{}", text_of(&refused));
    assert!(server.terminate().await.success());
    assert!(!world.path("data/control.sock").exists());
    assert_tells(&world, &["store", "verify"], "12 vectors, as they shall be");
}

/// Vectors that are on their way are neither missing nor strange, and a repair takes nothing from them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_indexed_is_no_difference_to_repair() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 1).await;
    let all = 400;
    for number in PICTURES..all {
        world.write(&format!("later/{number}.png"), &picture(number));
    }
    let mut verified = 0;
    loop {
        let output = tokio::task::block_in_place(|| world.run("store", &["verify", "--repair"]));
        assert!(output.status.success(), "{}", text_of(&output));
        let status = server.get_json("/api/v1/status").await;
        if status["images"]["indexed"] == all {
            break;
        }
        verified += 1;
        assert!(verified < 1000, "{status}");
    }
    server.until_counts(all.into(), 1).await;
    assert_tells(&world, &["store", "verify"], "400 vectors, as they shall be");
    assert_eq!(server.names("picture", 200).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_leaves_is_in_nobodys_way() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 1).await;
    server.kill_9();
    assert!(world.path("data/control.sock").exists());
    assert_tells(&world, &["store", "verify"], "12 vectors, as they shall be");
    let server = world.serve().await;
    assert_tells(&world, &["failures", "--retry"], "being tried again");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_errand_is_refused_and_harms_nothing() {
    let world = world();
    let server = world.serve().await;
    server.until_counts(PICTURES.into(), 1).await;
    let socket = world.path("data/control.sock");
    let long = vec![b'x'; 100_000];
    for said in [&b"no JSON\n"[..], b"{\"errand\":\"drop_everything\"}\n", b"\n", &long] {
        let mut stream = UnixStream::connect(&socket).expect("connected");
        // It stops listening to what is too long.
        let _ = stream.write_all(said);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        assert!(answer.is_empty() || answer.contains("does not understand"), "{answer}");
    }
    // One that hangs up at once.
    drop(UnixStream::connect(&socket).expect("connected"));
    assert_tells(&world, &["store", "verify"], "12 vectors, as they shall be");
}
