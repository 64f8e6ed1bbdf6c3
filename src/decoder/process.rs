//! Pictures whose decoder may bring a process down are decoded in processes of their own: this program, started once more for
//! nothing else, kept warm, watched by the clock. One that ends, hangs or talks nonsense costs the picture that it had.

use std::io::{self, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clip::{DecodeError, DecodeLimits, Elsewhere, Flattened, PictureFormat};
use parking_lot::Mutex;

use super::messages::{Answer, Order, READY, receive, receive_bytes, send};

/// Beyond a decoder's own deadline, before its process is ended.
const GRACE: Duration = Duration::from_secs(2);
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Largest colour profile that is taken; those of cameras have a few kilobytes.
const PROFILE_BYTES_MAX: usize = 16 << 20;

/// The processes that wait for work; as many as ever were busy at once, which the threads that decode limit.
pub(super) struct Processes {
    program: PathBuf,
    arguments: Vec<String>,
    idle: Mutex<Vec<Process>>,
}

struct Process {
    child: Arc<Mutex<Child>>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Processes {
    pub(super) fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self { program, arguments, idle: Mutex::default() }
    }

    /// Decodes in one that waits, or in a new one. If the former ends, that may have been for another reason than this picture:
    /// so it gets a new one.
    fn decode(&self, bytes: &[u8], limits: &DecodeLimits) -> io::Result<Decoding> {
        let waiting = self.idle.lock().pop();
        if let Some(process) = waiting {
            match self.decode_in(process, bytes, limits) {
                Err(error) if error.kind() != io::ErrorKind::TimedOut => {}
                decided => return decided,
            }
        }
        self.decode_in(self.start()?, bytes, limits)
    }

    fn decode_in(
        &self,
        mut process: Process,
        bytes: &[u8],
        limits: &DecodeLimits,
    ) -> io::Result<Decoding> {
        let patience = Duration::from_millis(limits.timeout_ms) + GRACE;
        let decoded = process.watched(patience, |process| process.decode(bytes, limits))?;
        self.idle.lock().push(process);
        Ok(decoded)
    }

    fn start(&self) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command.arg0("image-search").args(&self.arguments).env_clear();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let (child, from) = (Arc::new(Mutex::new(child)), BufReader::new(from));
        let mut process = Process { child, to, from };
        let said = process.watched(START_DEADLINE, |process| receive::<String>(&mut process.from));
        match said {
            Ok(Some(text)) if text == READY => Ok(process),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
            _ => Err(io::Error::other("it does not say that it is ready")),
        }
    }
}

impl Process {
    /// Does something that waits for the process, which is ended when that takes longer than `patience`.
    fn watched<T>(
        &mut self,
        patience: Duration,
        work: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let (done, is_done) = mpsc::channel::<()>();
        let child = self.child.clone();
        let watching =
            thread::Builder::new().name("decoder-watch".to_owned()).spawn(move || {
                let is_late =
                    is_done.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
                if is_late {
                    let _ = child.lock().kill();
                }
                is_late
            })?;
        let outcome = work(self);
        drop(done);
        match watching.join() {
            Ok(true) => Err(io::ErrorKind::TimedOut.into()),
            _ => outcome,
        }
    }

    fn decode(&mut self, bytes: &[u8], limits: &DecodeLimits) -> io::Result<Decoding> {
        send(&mut self.to, &Order { bytes: bytes.len(), limits: limits.clone() })?;
        self.to.write_all(bytes)?;
        self.to.flush()?;
        let answer = receive(&mut self.from)?;
        let (width, height, profile_bytes) = match answer {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Answer::Failed(error)) => return Ok(Err(error)),
            Some(Answer::Done { width, height, profile_bytes }) => (width, height, profile_bytes),
        };
        // What it says is as little to be trusted as the picture was.
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels || profile_bytes > Some(PROFILE_BYTES_MAX) {
            return Err(io::Error::other("it answers with more than there can be"));
        }
        let profile =
            profile_bytes.map(|count| receive_bytes(&mut self.from, count)).transpose()?;
        let samples = receive_bytes(&mut self.from, pixels as usize * 3)?;
        let rgb = image::RgbImage::from_raw(width, height, samples)
            .ok_or_else(|| io::Error::other("its picture has another size"))?;
        Ok(Ok(Flattened { rgb, profile }))
    }
}

type Decoding = Result<Flattened, DecodeError>;

impl Elsewhere for Processes {
    fn flatten(&self, format: PictureFormat, bytes: &[u8], limits: &DecodeLimits) -> Decoding {
        let failed = |reason: String| DecodeError::Malformed { format, reason };
        match self.decode(bytes, limits) {
            Ok(decoded) => decoded,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(DecodeError::TimedOut { timeout_ms: limits.timeout_ms })
            }
            Err(error) => {
                tracing::warn!(%error, ?format, "a picture could not be decoded in a process of its own");
                Err(failed(format!("it ended the process that decoded it ({error})")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVIF: &[u8] = include_bytes!("../../crates/clip/tests/golden/formats/alpha.avif");

    /// Processes of a shell that says it is ready and then does something else.
    fn shell(script: &str) -> Processes {
        let script = format!("echo '\"{READY}\"'; {script}");
        Processes::new("/bin/sh".into(), vec!["-c".to_owned(), script])
    }

    fn outcome(processes: &Processes, timeout_ms: u64) -> Decoding {
        let limits = DecodeLimits { timeout_ms, ..DecodeLimits::default() };
        processes.flatten(PictureFormat::Avif, AVIF, &limits)
    }

    #[test]
    fn a_process_that_ends_costs_its_picture_and_says_so() {
        for script in
            ["kill -ABRT $$", "exit 0", "read line; kill -SEGV $$", "read line; echo rubbish"]
        {
            let Err(DecodeError::Malformed { reason, .. }) = outcome(&shell(script), 5_000) else {
                panic!("{script}: it must fail")
            };
            assert!(reason.contains("it ended the process that decoded it"), "{script}: {reason}");
        }
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        let processes = shell("exec sleep 1000");
        assert_eq!(outcome(&processes, 1), Err(DecodeError::TimedOut { timeout_ms: 1 }));
        assert!(processes.idle.lock().is_empty(), "it is not used again");
    }

    #[test]
    fn a_picture_larger_than_there_can_be_is_not_believed() {
        let answer = r#"{"Done":{"width":4000000000,"height":4000000000,"profile_bytes":null}}"#;
        let lying = shell(&format!("read line; echo '{answer}'; exec sleep 1000"));
        assert!(matches!(outcome(&lying, 5_000), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn what_is_no_decoder_is_not_used() {
        let other = Processes::new("/bin/echo".into(), vec!["hello".to_owned()]);
        let Err(DecodeError::Malformed { reason, .. }) = outcome(&other, 5_000) else {
            panic!("it must fail")
        };
        assert!(reason.contains("does not say that it is ready"), "{reason}");
    }
}
