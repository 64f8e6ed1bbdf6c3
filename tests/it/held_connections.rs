//! Clients that hold what others need: connections that are never read from, event streams without number, bodies that never
//! end. Each may cost only so much.

use std::net::SocketAddr;

use reqwest::RequestBuilder;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Server, World, picture, problem};
use crate::search::multipart;
use crate::uploads::{KEY, upload};

/// A connection from one of the loopback addresses, with a request on it.
async fn hold(server: &Server, from: &str, request: &str) -> TcpStream {
    let port = server.url.rsplit(':').next().expect("a port");
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
    let mut stream = socket.connect(address).await.expect("connected");
    // A server that refuses may have closed it already.
    let _ = stream.write_all(request.as_bytes()).await;
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// The beginning of an answer; empty if there is none.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    let read =
        tokio::time::timeout(std::time::Duration::from_mins(1), stream.read_exact(&mut bytes));
    let read = read.await.expect("an answer or an end in time");
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

async fn gauge(server: &Server, name: &str) -> Option<u64> {
    let metrics = server.get("/metrics").send().await.ok()?.text().await.ok()?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn who_never_reads_is_dropped() {
    let world = World::new().set("SERVER__WRITE_TIMEOUT_MS", "300");
    // A picture, and behind it more than the buffers of a connection hold.
    let mut large = picture(1);
    large.resize(30_000_000, 0);
    world.write("a.png", &large);
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&server, "127.0.0.1", &get("/api/v1/images/a.png")).await);
    }
    for stream in &mut held {
        assert_eq!(first_line(stream).await, "HTTP/1.1 200");
    }
    server
        .until("all who do not read are gone", async || {
            (gauge(&server, "image_search_connections ").await == Some(1)).then_some(())
        })
        .await;
    let mut rest = Vec::new();
    let _ = held[0].read_to_end(&mut rest).await;
    assert!(rest.len() < large.len(), "what was on its way is not the whole");
    // Who reads, however late, gets everything.
    let whole = server.get("/api/v1/images/a.png").send().await.expect("an answer");
    assert_eq!(whole.bytes().await.expect("bytes").len(), large.len());
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn one_client_cannot_take_the_connections_of_all() {
    let world = World::new()
        .set("SERVER__CONNECTIONS_MAX", "24")
        .set("SERVER__CONNECTIONS_PER_ADDRESS_MAX", "6");
    let server = world.serve().await;
    let (mut held, mut answered, mut closed) = (Vec::new(), 0, 0);
    for _ in 0..30 {
        let mut stream = hold(&server, "127.0.0.2", &get("/api/v1/events")).await;
        match first_line(&mut stream).await.as_str() {
            "HTTP/1.1 200" => answered += 1,
            "" => closed += 1,
            other => panic!("{other}"),
        }
        held.push(stream);
    }
    assert_eq!((answered, closed), (6, 24));
    let mut other = hold(&server, "127.0.0.3", &get("/healthz")).await;
    assert_eq!(first_line(&mut other).await, "HTTP/1.1 200");
    drop(held);
    server
        .until("it may come again", async || {
            let mut stream = hold(&server, "127.0.0.2", &get("/healthz")).await;
            (first_line(&mut stream).await == "HTTP/1.1 200").then_some(())
        })
        .await;
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn a_few_clients_together_cannot_take_the_connections_of_all_either() {
    let world = World::new().set("SERVER__CONNECTIONS_MAX", "24");
    let server = world.serve().await;
    let mut held = Vec::new();
    for number in 0..80 {
        let address = format!("127.0.0.{}", 2 + number % 8);
        held.push(hold(&server, &address, &get("/api/v1/events")).await);
    }
    let mut other = hold(&server, "127.0.0.100", &get("/healthz")).await;
    assert_eq!(first_line(&mut other).await, "HTTP/1.1 200", "at once, though all are held");
    // Nor do they keep all others from listening.
    let mut listener = hold(&server, "127.0.0.101", &get("/api/v1/events")).await;
    assert_eq!(first_line(&mut listener).await, "HTTP/1.1 200");
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn one_client_cannot_take_all_places_of_listeners() {
    let world = World::new().set("SERVER__EVENT_STREAMS_MAX", "6");
    let server = world.serve().await;
    let (mut held, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let mut stream = hold(&server, "127.0.0.2", &get("/api/v1/events")).await;
        answers.push(first_line(&mut stream).await);
        held.push(stream);
    }
    assert_eq!(answers.iter().filter(|answer| answer.ends_with("200")).count(), 2, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.ends_with("503")).count(), 4, "{answers:?}");
    let mut other = hold(&server, "127.0.0.3", &get("/api/v1/events")).await;
    assert_eq!(first_line(&mut other).await, "HTTP/1.1 200");
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn only_so_many_listen_to_events() {
    let world = World::new().set("SERVER__EVENT_STREAMS_MAX", "2");
    let server = world.serve().await;
    let mut first = hold(&server, "127.0.0.2", &get("/api/v1/events")).await;
    let mut second = hold(&server, "127.0.0.3", &get("/api/v1/events")).await;
    for stream in [&mut first, &mut second] {
        assert_eq!(first_line(stream).await, "HTTP/1.1 200");
    }
    assert_eq!(gauge(&server, "image_search_event_streams ").await, Some(2));
    problem(server.get("/api/v1/events"), 503, "overloaded").await;
    assert_eq!(server.get("/api/v1/status").send().await.expect("an answer").status(), 200);
    drop(first);
    server
        .until("there is a place again", async || {
            let third = server.get("/api/v1/events").send().await.expect("an answer");
            (third.status() == 200).then_some(())
        })
        .await;
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn open_files_are_raised_to_what_is_allowed_and_connections_leave_some() {
    let world = World::new().file_limit("-S -n 64");
    let server = world.serve().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("read");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let columns: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(columns[3], columns[4], "{files}");
    drop(server);

    let world =
        World::new().file_limit("-n 200").set("SERVER__CONNECTIONS_PER_ADDRESS_MAX", "1000");
    world.write("a.png", &picture(1));
    let server = world.serve().await;
    server.until_counts(1, 0).await;
    assert!(server.log_text().contains("only 100 connections are taken"), "{}", server.log_text());
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(hold(&server, "127.0.0.2", "").await);
    }
    let answer = server.get("/api/v1/images/a.png").send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "pictures can be opened nevertheless");
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "it calls from addresses that have to be set up there")]
async fn bodies_take_their_memory_before_they_are_read() {
    let world = World::new()
        .set("DECODE__MEMORY_BYTES_MAX", "8388608")
        .set("SERVER__BODY_WAIT_MS", "100")
        // Nothing here passes because a request was given up.
        .set("SERVER__REQUEST_TIMEOUT_MS", "600000")
        .set("UPLOADS__ENABLED", "true")
        .set("UPLOADS__API_KEY", KEY);
    let server = world.serve().await;
    let search = || -> RequestBuilder {
        let body = multipart("b", &[("image", Some("a.png"), &picture(1))]);
        let kind = "multipart/form-data; boundary=b";
        server.post("/api/v1/search-image").header("content-type", kind).body(body)
    };
    for length in ["content-length: 20000000", "transfer-encoding: chunked"] {
        let head = format!(
            "POST /api/v1/search-image HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n{length}\r\n\r\n"
        );
        let unfinished = hold(&server, "127.0.0.1", &head).await;
        server
            .until("there is no room for a second", async || {
                let refused = search().send().await.expect("an answer");
                (refused.status() == 503).then(|| {
                    assert!(refused.headers().contains_key("retry-after"));
                })
            })
            .await;
        problem(search(), 503, "overloaded").await;
        problem(upload(&server, &[("a.png", &picture(1))]).bearer_auth(KEY), 503, "overloaded")
            .await;
        // Words cost nothing of it, and pictures that are copied into the folder have a part of their own.
        server.search(json!({"text": "tennis"})).await;
        let name = format!("{}.png", length.len());
        world.write(&name, &picture(length.len() as u32));
        server
            .until("a picture is indexed meanwhile", async || {
                server.names("x", 10).await.contains(&name).then_some(())
            })
            .await;
        // The client goes, and with it what was set aside.
        drop(unfinished);
        server
            .until("there is room again", async || {
                (search().send().await.expect("an answer").status() == 200).then_some(())
            })
            .await;
    }
}
