//! Reads a leased image from its source, and tells the picture's faults from the source's: while a disk or share is in trouble,
//! its pictures wait, and none is taken for gone or for broken.

use std::time::Duration;

use clip::{SNIFF_BYTES, Sniffed};
use tokio::io::AsyncReadExt;

use super::followed::Followed;
use crate::catalog::LeasedImage;
use crate::source::{Source, SourceError};
use crate::types::Fingerprint;

/// Until the next try of an image whose source is away. The catalog hands it out only when the source is back.
const AWAY_WAIT: Duration = Duration::from_secs(1);
/// The same, if its source is not configured any more.
pub(super) const UNCONFIGURED_WAIT: Duration = Duration::from_mins(10);

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All bytes of the file, which was the one that was listed, before and after.
    Whole(Vec<u8>),
    /// It is another one by now.
    Changed(Fingerprint),
    Gone,
    /// By its first bytes it is this, and nothing that is read here.
    NotAPicture(&'static str),
    /// Larger than pictures may be.
    TooLarge,
    /// Nothing can be said of it at the moment.
    Later(Duration),
    /// This picture cannot be read.
    Failed(SourceError),
}

/// Reads `image` once its source can be read.
pub(super) async fn read(followed: &Followed, image: &LeasedImage, bytes_max: u64) -> Read {
    if !followed.usable().await {
        return Read::Later(followed.pause_left().unwrap_or(AWAY_WAIT));
    }
    match read_whole(&*followed.source, image, bytes_max).await {
        Ok(read) => {
            followed.note_read(image.id);
            read
        }
        Err(SourceError::NotFound(_)) => look_again(followed, image).await,
        Err(trouble) if trouble.is_trouble() => wait(followed, image, &trouble),
        Err(error) => Read::Failed(error),
    }
}

/// A film of gigabytes is told by its first bytes, and read no further.
async fn read_whole(
    source: &dyn Source,
    image: &LeasedImage,
    bytes_max: u64,
) -> Result<Read, SourceError> {
    let failed = |error: std::io::Error| SourceError::of(&image.name, &error);
    let mut opened = source.open(&image.name).await?;
    if opened.fingerprint != image.fingerprint {
        return Ok(Read::Changed(opened.fingerprint));
    }
    let mut bytes = Vec::with_capacity(SNIFF_BYTES);
    let head = (&mut opened.reader).take(SNIFF_BYTES as u64);
    { head }.read_to_end(&mut bytes).await.map_err(failed)?;
    if let Sniffed::Other(what) = clip::sniff(&bytes) {
        return Ok(Read::NotAPicture(what));
    }
    let expected = image.fingerprint.size_bytes;
    if expected > bytes_max {
        return Ok(Read::TooLarge);
    }
    // One byte more than expected shows that it has grown.
    let rest = (expected + 1).saturating_sub(bytes.len() as u64);
    bytes.reserve(rest as usize);
    (&mut opened.reader).take(rest).read_to_end(&mut bytes).await.map_err(failed)?;
    let after = opened.reader.fingerprint().await?;
    let is_whole = bytes.len() as u64 == expected;
    Ok(if after == image.fingerprint && is_whole {
        Read::Whole(bytes)
    } else {
        Read::Changed(after)
    })
}

/// A picture that was not found is gone if the source is there, is what it was, and does not find it again.
async fn look_again(followed: &Followed, image: &LeasedImage) -> Read {
    let asked = async {
        followed.presence.confirm(&*followed.source).await?;
        followed.source.stat(&image.name).await
    };
    match asked.await {
        Ok(fingerprint) => Read::Changed(fingerprint),
        Err(SourceError::NotFound(_) | SourceError::NotAFile(_)) => Read::Gone,
        Err(error) => wait(followed, image, &error),
    }
}

fn wait(followed: &Followed, image: &LeasedImage, error: &SourceError) -> Read {
    tracing::debug!(image = %image.name, %error, "cannot read an image at the moment");
    if matches!(error, SourceError::Away { .. }) {
        // Whether it really is away is for a comparison of everything to say, which comes within a moment.
        followed.rescan.notify_one();
        return Read::Later(AWAY_WAIT);
    }
    Read::Later(followed.note_trouble(image.id, error))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::source::memory::MemorySource;
    use crate::types::ImageName;

    /// By its first bytes a picture, as everything that is read whole must be.
    const PICTURE: &[u8] = b"\xff\xd8\xff\xe0 one";

    async fn leased(followed: &Followed, source: &MemorySource) -> LeasedImage {
        let name = ImageName::new("a.png").expect("valid");
        source.put(&name, PICTURE);
        let fingerprint = source.stat(&name).await.expect("there");
        let identity = source.identity().await.expect("there");
        followed.presence.note_present(&*followed.source, identity);
        let (attempts, interruptions) = (0, 0);
        LeasedImage { id: 1, source: "memory".into(), name, fingerprint, attempts, interruptions }
    }

    fn followed() -> (Followed, MemorySource) {
        let source = MemorySource::default();
        (Followed::new(Arc::new(source.clone())), source)
    }

    #[tokio::test]
    async fn a_picture_is_read_whole_or_found_changed_or_gone() {
        let (followed, source) = followed();
        let image = leased(&followed, &source).await;
        assert_eq!(read(&followed, &image, 1 << 20).await, Read::Whole(PICTURE.to_vec()));
        source.put(&image.name, b"\xff\xd8\xff\xe0 two");
        let changed = source.stat(&image.name).await.expect("there");
        assert_eq!(read(&followed, &image, 1 << 20).await, Read::Changed(changed));
        source.remove(&image.name);
        assert_eq!(read(&followed, &image, 1 << 20).await, Read::Gone);
    }

    #[tokio::test]
    async fn what_is_no_picture_is_told_before_it_is_read() {
        let (followed, source) = followed();
        let mut image = leased(&followed, &source).await;
        source.put(&image.name, b"%PDF-1.7 and so on");
        image.fingerprint = source.stat(&image.name).await.expect("there");
        let told = read(&followed, &image, 1).await;
        assert!(matches!(told, Read::NotAPicture(_)), "its size does not matter: {told:?}");
        source.put(&image.name, b"\xff\xd8\xff\xe0 a large one");
        image.fingerprint = source.stat(&image.name).await.expect("there");
        assert_eq!(read(&followed, &image, 10).await, Read::TooLarge);
    }

    #[tokio::test]
    async fn errors_of_the_share_pause_it_and_fail_no_picture() {
        let (followed, source) = followed();
        let image = leased(&followed, &source).await;
        source.fail(|faults| faults.reads_fail = Some(io::ErrorKind::TimedOut));
        for _ in 0..3 {
            assert!(matches!(read(&followed, &image, 1 << 20).await, Read::Later(_)));
        }
        assert!(matches!(followed.problem(), Some(SourceError::Unavailable { .. })));
        source.fail(|faults| faults.reads_fail = None);
        assert_eq!(read(&followed, &image, 1 << 20).await, Read::Whole(PICTURE.to_vec()));
        assert_eq!(followed.problem(), None);
    }

    #[tokio::test]
    async fn a_picture_on_a_disk_that_was_exchanged_is_not_gone() {
        let (followed, source) = followed();
        let image = leased(&followed, &source).await;
        source.remove(&image.name);
        source.fail(|faults| faults.identity = "another disk".into());
        assert!(matches!(read(&followed, &image, 1 << 20).await, Read::Later(_)));
        source.fail(|faults| faults.away = Some("unplugged".into()));
        assert!(matches!(read(&followed, &image, 1 << 20).await, Read::Later(_)));
    }
}
