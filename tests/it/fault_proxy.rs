//! A TCP proxy between the program and a server, which can be slow, silent, half-closed, reset or not there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with connections, also with those that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Every piece arrives so much later.
    Slow(Duration),
    /// Connections stay open, and nothing passes.
    Silent,
    /// As when the server moved to another address: connections that are open are silent, new ones are fair.
    Moved,
    /// Answers end; requests still pass.
    HalfClosed,
    /// Connections are reset, and new ones too.
    Reset,
}

/// A running proxy.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    accepting: JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FaultProxy {
    /// Listens on a free port and passes on to `server`.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let sky = weather.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, sky.subscribe()));
            }
        });
        Self { address, weather, accepting }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(crate) fn url(&self) -> String {
        format!("qdrant+http://{}", self.address)
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut weather: watch::Receiver<Weather>) {
    if *weather.borrow() == Weather::Reset {
        reset(&client);
        return;
    }
    let is_new = *weather.borrow() == Weather::Moved;
    let Ok(server) = TcpStream::connect(server).await else { return reset(&client) };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = pump(&mut from_client, &mut to_server, weather.clone(), false, is_new);
    let answers = pump(&mut from_server, &mut to_client, weather.clone(), true, is_new);
    let both = async { tokio::join!(requests, answers) };
    let is_reset = async {
        let _ = weather.wait_for(|weather| *weather == Weather::Reset).await;
    };
    let was_reset = tokio::select! {
        _ = both => false,
        () = is_reset => true,
    };
    if was_reset && let Ok(client) = from_client.reunite(to_client) {
        reset(&client);
    }
}

/// Closes with a reset instead of a goodbye.
fn reset(client: &TcpStream) {
    let _ = client.set_zero_linger();
}

async fn pump(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    answers: bool,
    is_new: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let half_closed = async {
            let _ = weather
                .clone()
                .wait_for(|weather| *weather == Weather::HalfClosed && answers)
                .await;
        };
        let length = tokio::select! {
            length = from.read(&mut buffer) => length.unwrap_or(0),
            () = half_closed => 0,
        };
        if length == 0 {
            let _ = to.shutdown().await;
            return;
        }
        let now = *weather.borrow();
        match now {
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            Weather::Silent => drop(weather.wait_for(|weather| *weather != Weather::Silent).await),
            Weather::Moved if !is_new => std::future::pending().await,
            Weather::Fair | Weather::Moved | Weather::HalfClosed | Weather::Reset => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
