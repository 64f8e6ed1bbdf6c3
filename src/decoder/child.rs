//! The other side: a process that decodes what it is told to on its standard input, one picture after the other, and ends
//! with whoever started it. It has no files, no network and little memory.

use std::io::{self, BufReader, Write};

use super::messages::{Answer, Order, READY, receive, receive_bytes, send};
use super::sandbox;

/// The word on the command line that starts it; what one picture may take follows.
pub const COMMAND: &str = "decode-pictures";

/// Serves until its standard input is closed. `memory_bytes_max` is what one picture may take.
pub fn run(memory_bytes_max: u64) -> io::Result<()> {
    sandbox::enter(memory_bytes_max)?;
    // What a decoder has to say when it panics is of no use to anybody.
    std::panic::set_hook(Box::new(|_| ()));
    let (mut from, mut to) = (BufReader::new(io::stdin().lock()), io::stdout().lock());
    send(&mut to, &READY)?;
    to.flush()?;
    while let Some(order) = receive::<Order>(&mut from)? {
        let bytes = receive_bytes(&mut from, order.bytes)?;
        match clip::flatten(&bytes, &order.limits) {
            Err(error) => send(&mut to, &Answer::Failed(error))?,
            Ok(flat) => {
                let (width, height) = flat.rgb.dimensions();
                let profile_bytes = flat.profile.as_ref().map(Vec::len);
                send(&mut to, &Answer::Done { width, height, profile_bytes })?;
                to.write_all(flat.profile.as_deref().unwrap_or_default())?;
                to.write_all(flat.rgb.as_raw())?;
            }
        }
        to.flush()?;
    }
    Ok(())
}
