//! The stream in which a source tells what it has: pages in name order through a bounded channel, so that memory stays at a
//! few pages however many pictures there are. It has an end only if the source said so; one that breaks off is an error.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::SourceError;
use crate::types::{Fingerprint, ImageName};

/// Items that travel together.
const PAGE: usize = 1000;
/// Pages that wait to be taken.
const PAGES_AHEAD: usize = 2;
/// A source that says nothing for so long does not answer any more.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// A source at work that finds nothing to tell says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// One thing that a source tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Image(ImageName, Fingerprint),
    /// This name and what lies below it could not be looked at (from here on); nothing of it may be taken for gone.
    Unreadable {
        part: ImageName,
        reason: String,
    },
    /// Something that cannot be an image, because it cannot be named.
    Unnameable {
        /// Its path below the root, as far as it can be shown.
        shown: String,
        reason: String,
    },
    /// The limit of files is reached. The list is over, but what comes behind the last name may not be taken for gone.
    Truncated,
}

enum Message {
    Items(Vec<Listed>),
    End,
    Broken(SourceError),
}

/// The receiving side. Dropping it stops the source.
pub struct Listing {
    location: String,
    messages: mpsc::Receiver<Message>,
    page: std::vec::IntoIter<Listed>,
    ended: bool,
    silence_max: Duration,
}

/// The source's side.
pub struct ListingWriter {
    messages: mpsc::Sender<Message>,
    page: Vec<Listed>,
    last_sent: Instant,
}

/// Nobody wants to hear more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl Listing {
    /// A listing of the source at `location`, and the side that fills it.
    pub fn new(location: String) -> (ListingWriter, Self) {
        let (sender, messages) = mpsc::channel(PAGES_AHEAD);
        let writer =
            ListingWriter { messages: sender, page: Vec::new(), last_sent: Instant::now() };
        let page = Vec::new().into_iter();
        let listing = Self { location, messages, page, ended: false, silence_max: SILENCE_MAX };
        (writer, listing)
    }

    /// What comes next; `None` once everything was told. After an error, nothing more may be concluded.
    pub async fn next(&mut self) -> Result<Option<Listed>, SourceError> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match tokio::time::timeout(self.silence_max, self.messages.recv()).await {
                Ok(Some(Message::Items(items))) => self.page = items.into_iter(),
                Ok(Some(Message::End)) => self.ended = true,
                Ok(Some(Message::Broken(error))) => return Err(error),
                Ok(None) => return Err(self.away("listing it broke off")),
                Err(_) => return Err(self.away("it does not answer")),
            }
        }
    }

    fn away(&self, reason: &str) -> SourceError {
        SourceError::Away { location: self.location.clone(), reason: reason.to_owned() }
    }
}

/// To be used on a thread that may wait.
impl ListingWriter {
    /// Adds an item. `Err`: nobody listens any more; stop.
    pub fn push(&mut self, item: Listed) -> Result<(), Stopped> {
        self.page.push(item);
        if self.page.len() >= PAGE { self.send_page() } else { Ok(()) }
    }

    /// To be called now and then while there is nothing to add.
    pub fn working(&mut self) -> Result<(), Stopped> {
        if self.last_sent.elapsed() >= SIGN_OF_LIFE {
            return self.send_page();
        }
        if self.messages.is_closed() { Err(Stopped) } else { Ok(()) }
    }

    /// Everything was told.
    pub fn end(mut self) {
        if self.send_page().is_ok() {
            let _ = self.messages.blocking_send(Message::End);
        }
    }

    /// It cannot be told to its end.
    pub fn broken(mut self, error: SourceError) {
        if self.send_page().is_ok() {
            let _ = self.messages.blocking_send(Message::Broken(error));
        }
    }

    fn send_page(&mut self) -> Result<(), Stopped> {
        let page = std::mem::take(&mut self.page);
        self.last_sent = Instant::now();
        self.messages.blocking_send(Message::Items(page)).map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(number: usize) -> Listed {
        let name = ImageName::new(format!("{number:06}")).expect("valid");
        Listed::Image(name, Fingerprint { size_bytes: 1, version: "1".into(), modified_ms: 1 })
    }

    #[tokio::test]
    async fn a_source_that_dies_is_an_error_and_not_an_end() {
        let (mut writer, mut listing) = Listing::new("/pictures".into());
        let dying = tokio::task::spawn_blocking(move || {
            (0..=PAGE).try_for_each(|number| writer.push(image(number)))
        });
        for number in 0..PAGE {
            assert_eq!(listing.next().await, Ok(Some(image(number))));
        }
        let error = listing.next().await.expect_err("it broke off");
        assert!(matches!(error, SourceError::Away { .. }), "{error}");
        assert_eq!(dying.await.expect("no panic"), Ok(()));
    }

    #[tokio::test]
    async fn a_source_stops_when_nobody_listens() {
        let (mut writer, listing) = Listing::new("/pictures".into());
        let endless = tokio::task::spawn_blocking(move || {
            (0..).try_for_each(|number| writer.push(image(number)))
        });
        drop(listing);
        assert_eq!(endless.await.expect("no panic"), Err(Stopped));
    }

    #[tokio::test]
    async fn a_source_that_says_nothing_is_given_up() {
        let (writer, mut listing) = Listing::new("/pictures".into());
        listing.silence_max = Duration::from_millis(1);
        let error = listing.next().await.expect_err("silence");
        assert!(error.to_string().contains("does not answer"), "{error}");
        drop(writer);
    }
}
