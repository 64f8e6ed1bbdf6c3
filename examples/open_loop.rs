//! Open-loop load on a running server: requests are sent by the clock, whether or not earlier ones were answered, as a crowd
//! does it. First the capacity is found (a few clients that each wait for their answer), then 0.5, 1, 2 and 10 times as
//! much is sent. Every query is another one, so that no cache answers. Only for a server of your own, on this machine.
//!
//!     cargo run --release --example open_loop -- http://127.0.0.1:3000 [PID of the server] [seconds for each rate] [rates]
//!
//! With rates ("50,100": searches a second) those are sent, and the capacity is not asked for.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

const FACTORS: [f64; 4] = [0.5, 1.0, 2.0, 10.0];
const CALIBRATION: Duration = Duration::from_secs(8);
const CALIBRATION_CLIENTS: usize = 8;
const RSS_INTERVAL: Duration = Duration::from_millis(50);
/// A client address may have so many connections that more than one is needed.
const ADDRESSES: u8 = 16;

static NUMBER: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
enum Outcome {
    Accepted(Duration),
    Refused(Duration),
    Other,
}

fn clients() -> reqwest::Result<Vec<Client>> {
    let client = |last: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        Client::builder().no_proxy().local_address(address).timeout(Duration::from_mins(1)).build()
    };
    (1..=ADDRESSES).map(client).collect()
}

async fn ask(client: Client, url: String) -> Outcome {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let body = json!({"text": format!("a photo of thing {number} beside {}", number * 7919)});
    let started = Instant::now();
    let Ok(response) = client.post(url).json(&body).send().await else { return Outcome::Other };
    let status = response.status();
    let _ = response.bytes().await;
    match status {
        StatusCode::OK => Outcome::Accepted(started.elapsed()),
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Refused(started.elapsed()),
        _ => Outcome::Other,
    }
}

/// Answers in a second when every client waits for its answer.
async fn capacity(clients: &[Client], url: &str) -> f64 {
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for client in clients.iter().cycle().take(CALIBRATION_CLIENTS) {
        let (client, url) = (client.clone(), url.to_owned());
        asking.spawn(async move {
            let mut answered = 0;
            while started.elapsed() < CALIBRATION {
                answered += u32::from(matches!(
                    ask(client.clone(), url.clone()).await,
                    Outcome::Accepted(_)
                ));
            }
            answered
        });
    }
    let answered: u32 = asking.join_all().await.into_iter().sum();
    f64::from(answered) / started.elapsed().as_secs_f64()
}

/// Sends `rate` requests a second; returns how each ended.
async fn send(clients: &[Client], url: &str, rate: f64, lasting: Duration) -> Vec<Outcome> {
    let started = Instant::now();
    let mut sent = JoinSet::new();
    let total = (rate * lasting.as_secs_f64()) as usize;
    for (number, client) in clients.iter().cycle().take(total).enumerate() {
        let due = started + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        sent.spawn(ask(client.clone(), url.to_owned()));
    }
    sent.join_all().await
}

fn rss_mb(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

/// Keeps the largest that it sees.
async fn watch(pid: String, peak: Arc<AtomicU64>) {
    loop {
        peak.fetch_max(rss_mb(&pid) as u64, Ordering::Relaxed);
        tokio::time::sleep(RSS_INTERVAL).await;
    }
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    format!("{:.0} / {:.0} / {:.0}", at(0.5), at(0.99), at(1.0))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("say where the server is: http://127.0.0.1:3000")?;
    let pid = arguments.next().unwrap_or_default();
    let lasting = Duration::from_secs(arguments.next().map_or(Ok(20), |text| text.parse())?);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (clients, url) = (clients()?, format!("{server}/api/v1/search-image"));
    let mut out = std::io::stdout();
    let given: Option<Vec<f64>> =
        arguments.next().map(|rates| rates.split(',').map(str::parse).collect()).transpose()?;
    let rates = match given {
        Some(rates) => rates.into_iter().map(|rate| (format!("{rate}/s"), rate)).collect(),
        None => {
            let capacity = capacity(&clients, &url).await;
            writeln!(out, "capacity: {capacity:.0} searches/s; before: {:.0} MB", rss_mb(&pid))?;
            FACTORS.map(|factor| (format!("{factor}x"), capacity * factor)).to_vec()
        }
    };
    writeln!(
        out,
        "| load | sent/s | accepted/s | accepted p50 / p99 / max ms | refused/s | refused p50 / p99 / max ms | other | peak MB |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (load, rate) in rates {
        let peak = Arc::new(AtomicU64::new(0));
        let watching = tokio::spawn(watch(pid.clone(), peak.clone()));
        let outcomes = send(&clients, &url, rate, lasting).await;
        watching.abort();
        let of = |wanted: fn(&Outcome) -> Option<Duration>| {
            outcomes.iter().filter_map(wanted).collect::<Vec<_>>()
        };
        let accepted = of(|outcome| match outcome {
            Outcome::Accepted(time) => Some(*time),
            _ => None,
        });
        let refused = of(|outcome| match outcome {
            Outcome::Refused(time) => Some(*time),
            _ => None,
        });
        let a_second = |count: usize| count as f64 / lasting.as_secs_f64();
        writeln!(
            out,
            "| {load} | {:.0} | {:.0} | {} | {:.0} | {} | {} | {} |",
            a_second(outcomes.len()),
            a_second(accepted.len()),
            quantiles(accepted.clone()),
            a_second(refused.len()),
            quantiles(refused.clone()),
            outcomes.len() - accepted.len() - refused.len(),
            peak.load(Ordering::Relaxed)
        )?;
    }
    Ok(())
}
