//! What the program and its decoding processes say to each other: a line of JSON, then bytes.

use std::io::{self, BufRead, Read, Write};

use clip::{DecodeError, DecodeLimits};
use serde::{Deserialize, Serialize};

/// The first line of a process that is ready: nothing else that might be started by mistake says it.
pub(super) const READY: &str = "image-search decodes";
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A picture to decode; its bytes follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) bytes: usize,
    pub(super) limits: DecodeLimits,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The profile follows, then the pixels, three bytes each.
    Done {
        width: u32,
        height: u32,
        profile_bytes: Option<usize>,
    },
    Failed(DecodeError),
}

pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// `None` when the other side has closed.
pub(super) fn receive<T: for<'de> Deserialize<'de>>(
    from: &mut impl BufRead,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

pub(super) fn receive_bytes(from: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
