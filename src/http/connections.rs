//! What an open connection may cost others: its place among all and among those of its client, and the time that its client
//! may take to read. A few clients never take all places: each may have as many as half of those that are free.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::client_address::network;
use crate::config::AddressRange;

/// How many connections (or streams of events) each client has.
pub(super) struct Clients {
    open: Mutex<HashMap<IpAddr, usize>>,
    each_max: usize,
    /// Have all connections of all their clients.
    trusted_proxies: Vec<AddressRange>,
    all: Gauge,
}

/// A place among those of its client, given back when dropped.
pub(super) struct PlaceOfClient {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    pub(super) fn new(
        each_max: usize,
        trusted_proxies: Vec<AddressRange>,
        all: Gauge,
    ) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), each_max, trusted_proxies, all })
    }

    /// `None` if the client has as many as it may have while so many places are free: half of them. So one greedy client ends
    /// up with a third of all places, eight with four fifths, and there is always one for somebody new.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        places_free: usize,
    ) -> Option<PlaceOfClient> {
        let client = network(address);
        let is_proxy = self.trusted_proxies.iter().any(|range| range.contains(address));
        let most = self.each_max.min(places_free / 2).max(1);
        let mut open = self.open.lock();
        let count = open.entry(client).or_default();
        if *count >= most && !is_proxy {
            return None;
        }
        *count += 1;
        self.all.inc();
        Some(PlaceOfClient { clients: self.clone(), client })
    }
}

impl Drop for PlaceOfClient {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
        self.clients.all.dec();
    }
}

/// Most connections that wait for a place, and most that this machine may have besides: commands, and checks whether the
/// server is alive.
const WAITING_MAX: usize = 64;
const LOCAL_MAX: usize = 16;
/// Of a small number of places both are this part.
const BESIDE_PART: usize = 16;

/// Places of connections. When all are taken a few more wait, and this machine has some of its own.
pub(super) struct Places {
    all: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    local: Arc<Semaphore>,
}

/// A place, or one in the queue for it.
pub(super) enum Place {
    Taken(#[expect(dead_code, reason = "held for its effect")] OwnedSemaphorePermit),
    Queued { all: Arc<Semaphore>, queued: OwnedSemaphorePermit },
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        let beside = |most: usize| Arc::new(Semaphore::new(most.min(max / BESIDE_PART).max(1)));
        Self {
            all: Arc::new(Semaphore::new(max)),
            waiting: beside(WAITING_MAX),
            local: beside(LOCAL_MAX),
        }
    }

    pub(super) fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// `None` if too many wait already.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        if let Ok(place) = self.all.clone().try_acquire_owned() {
            return Some(Place::Taken(place));
        }
        if address.to_canonical().is_loopback()
            && let Ok(place) = self.local.clone().try_acquire_owned()
        {
            return Some(Place::Taken(place));
        }
        let queued = self.waiting.clone().try_acquire_owned().ok()?;
        Some(Place::Queued { all: self.all.clone(), queued })
    }
}

impl Place {
    /// Waits for its turn; `None` if that takes longer than `most`.
    pub(super) async fn wait(self, most: Duration) -> Option<Self> {
        match self {
            Self::Taken(_) => Some(self),
            Self::Queued { all, queued } => {
                let place = tokio::time::timeout(most, all.acquire_owned()).await;
                drop(queued);
                Some(Self::Taken(place.ok()?.ok()?))
            }
        }
    }
}

/// A connection that fails when nothing of what is written to it is taken for `timeout`.
pub(super) struct WriteDeadline {
    stream: TcpStream,
    timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl WriteDeadline {
    pub(super) fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self { stream, timeout, waiting: None }
    }

    fn in_time(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for WriteDeadline {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WriteDeadline {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_counted_by_client_and_given_back() {
        let proxy = "10.9.0.0/16".parse().expect("a range");
        let clients = Clients::new(2, vec![proxy], Gauge::default());
        let admit = |text: &str| clients.admit(address(text), 1000);
        let first = admit("10.0.0.1");
        let _second = admit("::ffff:10.0.0.1").expect("room for two");
        assert!(admit("10.0.0.1").is_none());
        assert!(admit("10.0.0.2").is_some(), "another client");
        drop(first);
        assert!(admit("10.0.0.1").is_some());
        let proxy: Vec<_> = (0..9).map(|_| admit("10.9.0.1")).collect();
        assert!(proxy.iter().all(Option::is_some), "a proxy's are those of many");
        drop(proxy);
        let _v6 = [admit("fd00::1"), admit("fd00::2")];
        assert!(admit("fd00::3").is_none(), "the same network");
        assert!(admit("fd00:0:0:1::1").is_some());
        assert_eq!(clients.open.lock().len(), 2, "who has none is forgotten");
    }

    /// How many of `max` places so many greedy clients get in all.
    fn taken_by(greedy: u8, max: usize) -> usize {
        let clients = Clients::new(256, Vec::new(), Gauge::default());
        let mut held = Vec::new();
        for _ in 0..max {
            for client in 1..=greedy {
                let address = address(&format!("10.0.0.{client}"));
                if held.len() < max
                    && let Some(place) = clients.admit(address, max - held.len())
                {
                    held.push(place);
                }
            }
        }
        held.len()
    }

    #[test]
    fn a_few_clients_never_take_all_places() {
        assert_eq!(taken_by(1, 1024), 256);
        assert_eq!([taken_by(4, 1024), taken_by(8, 1024), taken_by(64, 1024)], [683, 819, 993]);
        assert_eq!([taken_by(1, 12), taken_by(3, 12)], [4, 7]);
        assert_eq!(taken_by(9, 8), 8, "each may have one");
    }

    #[tokio::test]
    async fn when_all_places_are_taken_this_machine_has_some_and_a_few_wait() {
        let places = Places::new(2);
        let (near, far) = (address("::ffff:127.0.0.1"), address("10.0.0.1"));
        let is_taken = |place: &Option<Place>| matches!(place, Some(Place::Taken(_)));
        let held = [places.take(far), places.take(far)];
        let local = places.take(near);
        assert!(held.iter().all(is_taken) && is_taken(&local));
        let waiting = places.take(near).expect("the queue");
        assert!(matches!(waiting, Place::Queued { .. }));
        assert!(places.take(near).is_none() && places.take(far).is_none(), "it is full, too");
        let waiting = tokio::spawn(waiting.wait(Duration::from_mins(1)));
        drop(held);
        assert!(waiting.await.expect("joined").is_some());
        let held = [places.take(far), places.take(far)];
        let waiting = places.take(far).expect("the queue");
        assert!(waiting.wait(Duration::from_millis(1)).await.is_none(), "it gives up");
        assert!(places.take(far).is_some(), "and leaves the queue");
        drop(held);
    }
}
