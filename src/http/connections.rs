//! What an open connection may cost others: its place among all and among those of its client, and the time that its client
//! may take to read.

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
use tokio::time::Sleep;

use super::client_address::network;
use crate::config::AddressRange;

/// How many connections each client has.
pub(super) struct Clients {
    open: Mutex<HashMap<IpAddr, usize>>,
    each_max: usize,
    /// Have all connections of all their clients.
    trusted_proxies: Vec<AddressRange>,
    connections: Gauge,
}

/// A connection's place among those of its client, given back when dropped.
pub(super) struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    pub(super) fn new(
        each_max: usize,
        trusted_proxies: Vec<AddressRange>,
        connections: Gauge,
    ) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), each_max, trusted_proxies, connections })
    }

    /// `None` if the client has as many as it may have.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = network(address);
        let is_proxy = self.trusted_proxies.iter().any(|range| range.contains(address));
        let mut open = self.open.lock();
        let count = open.entry(client).or_default();
        if *count >= self.each_max && !is_proxy {
            return None;
        }
        *count += 1;
        self.connections.inc();
        Some(Place { clients: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
        self.clients.connections.dec();
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

    #[test]
    fn places_are_counted_by_client_and_given_back() {
        let proxy = "10.9.0.0/16".parse().expect("a range");
        let clients = Clients::new(2, vec![proxy], Gauge::default());
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = clients.admit(address("10.0.0.1"));
        let _second = clients.admit(address("::ffff:10.0.0.1")).expect("room for two");
        assert!(clients.admit(address("10.0.0.1")).is_none());
        assert!(clients.admit(address("10.0.0.2")).is_some(), "another client");
        drop(first);
        assert!(clients.admit(address("10.0.0.1")).is_some());
        let proxy: Vec<_> = (0..9).map(|_| clients.admit(address("10.9.0.1"))).collect();
        assert!(proxy.iter().all(Option::is_some), "a proxy's are those of many");
        drop(proxy);
        let _v6 = [clients.admit(address("fd00::1")), clients.admit(address("fd00::2"))];
        assert!(clients.admit(address("fd00::3")).is_none(), "the same network");
        assert!(clients.admit(address("fd00:0:0:1::1")).is_some());
        assert_eq!(clients.open.lock().len(), 2, "who has none is forgotten");
    }
}
