//! A zip file, written as a stream: entries are stored as they are, since pictures do not shrink, and nothing is kept but the
//! directory. Without Zip64, so at most 65,535 entries and 4 GiB, which the caller sees to.

use std::io;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Bytes on their way to the client; a full channel waits until the client has taken some.
pub(super) type Chunks = mpsc::Sender<io::Result<Bytes>>;

const CHUNK_BYTES: usize = 64 << 10;
/// 1.0: no compression, no folders of their own.
const VERSION: u16 = 10;
const NAMES_ARE_UTF8: u16 = 1 << 11;

/// What stands before an entry's bytes, and again in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) modified_ms: i64,
    pub(super) crc: u32,
    pub(super) size_bytes: u32,
}

/// See the head of this file.
pub(super) struct ZipWriter {
    out: Chunks,
    written: u32,
    directory: Vec<u8>,
    entries: u16,
}

impl ZipWriter {
    pub(super) fn new(out: Chunks) -> Self {
        Self { out, written: 0, directory: Vec::new(), entries: 0 }
    }

    /// Writes one entry: exactly `size_bytes` of the reader.
    pub(super) async fn add(
        &mut self,
        entry: &Entry,
        reader: impl AsyncRead + Unpin,
    ) -> io::Result<()> {
        let begins_at = self.written;
        let mut head = b"PK\x03\x04".to_vec();
        head.extend(common_fields(entry));
        head.extend(entry.name.as_bytes());
        self.put(head).await?;
        self.copy(entry.size_bytes, reader).await?;
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(VERSION.to_le_bytes());
        self.directory.extend(common_fields(entry));
        // No comment, first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(begins_at.to_le_bytes());
        self.directory.extend(entry.name.as_bytes());
        self.entries = self.entries.checked_add(1).ok_or_else(too_large)?;
        Ok(())
    }

    /// Writes the directory, without which it is no zip file.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        let (begins_at, directory) = (self.written, std::mem::take(&mut self.directory));
        let length = u32::try_from(directory.len()).map_err(|_| too_large())?;
        self.put(directory).await?;
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.entries.to_le_bytes());
        end.extend(self.entries.to_le_bytes());
        end.extend(length.to_le_bytes());
        end.extend(begins_at.to_le_bytes());
        end.extend([0; 2]);
        self.put(end).await
    }

    async fn copy(
        &mut self,
        size_bytes: u32,
        mut reader: impl AsyncRead + Unpin,
    ) -> io::Result<()> {
        let mut left = size_bytes as usize;
        while left > 0 {
            let mut chunk = vec![0; left.min(CHUNK_BYTES)];
            let got = reader.read(&mut chunk).await?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(got);
            left -= got;
            self.put(chunk).await?;
        }
        Ok(())
    }

    async fn put(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        self.written = self.written.checked_add(length).ok_or_else(too_large)?;
        let sent = self.out.send(Ok(bytes.into())).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn too_large() -> io::Error {
    io::Error::other("a zip file cannot hold so much")
}

/// The part that the heads of entry and directory have in common, up to the name.
fn common_fields(entry: &Entry) -> Vec<u8> {
    let (date, time) = dos_date_and_time(entry.modified_ms);
    let mut fields = Vec::with_capacity(26);
    // The zero between the flags and the time: stored, not compressed.
    for field in [VERSION, NAMES_ARE_UTF8, 0, time, date] {
        fields.extend(field.to_le_bytes());
    }
    for field in [entry.crc, entry.size_bytes, entry.size_bytes] {
        fields.extend(field.to_le_bytes());
    }
    fields.extend((entry.name.len() as u16).to_le_bytes());
    fields.extend([0; 2]);
    fields
}

/// In UTC; DOS knows the years 1980 to 2107.
fn dos_date_and_time(modified_ms: i64) -> (u16, u16) {
    const FIRST: (u16, u16) = ((1 << 5) | 1, 0);
    let Ok(when) = jiff::Timestamp::from_millisecond(modified_ms) else { return FIRST };
    let when = when.to_zoned(jiff::tz::TimeZone::UTC);
    let Ok(year) = u16::try_from(when.year() - 1980) else { return FIRST };
    let part = |number: i8| u16::from(number.unsigned_abs());
    let date = (year.min(127) << 9) | (part(when.month()) << 5) | part(when.day());
    let time = (part(when.hour()) << 11) | (part(when.minute()) << 5) | (part(when.second()) / 2);
    (date, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn zipped(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
        let (out, mut chunks) = mpsc::channel(1000);
        let mut zip = ZipWriter::new(out);
        for (name, bytes) in files {
            let entry = Entry {
                name: (*name).to_owned(),
                modified_ms: 1_700_000_001_000,
                crc: crc32fast::hash(bytes),
                size_bytes: bytes.len() as u32,
            };
            zip.add(&entry, *bytes).await?;
        }
        zip.finish().await?;
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            whole.extend(chunk?);
        }
        Ok(whole)
    }

    #[tokio::test]
    async fn python_reads_it_and_finds_every_byte_and_date() {
        let large = vec![7; CHUNK_BYTES * 2 + 1];
        let files: [(&str, &[u8]); 3] =
            [("a/größe.txt", b"one"), ("empty", b""), ("large", &large)];
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("it.zip");
        std::fs::write(&path, zipped(&files).await.expect("written")).expect("kept");
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nfor i in z.infolist(): print(i.filename, i.file_size, *i.date_time)";
        let read = std::process::Command::new("python3").args(["-c", script]).arg(&path).output();
        let read = read.expect("python3 is here");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let date = "2023 11 14 22 13 20";
        let expected = format!("a/größe.txt 3 {date}\nempty 0 {date}\nlarge 131073 {date}\n");
        assert_eq!(String::from_utf8_lossy(&read.stdout), expected);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_and_not_a_shorter_entry() {
        let (out, _chunks) = mpsc::channel(10);
        let entry = Entry { name: "a".into(), modified_ms: 0, crc: 0, size_bytes: 5 };
        let cut = ZipWriter::new(out).add(&entry, &b"four"[..]).await;
        assert_eq!(cut.expect_err("too short").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn it_ends_when_nobody_takes_it_any_more() {
        let (out, chunks) = mpsc::channel(1);
        drop(chunks);
        let entry = Entry { name: "a".into(), modified_ms: 0, crc: 0, size_bytes: 0 };
        let ended = ZipWriter::new(out).add(&entry, tokio::io::empty()).await;
        assert_eq!(ended.expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn dates_outside_of_what_dos_knows_become_its_first() {
        assert_eq!(dos_date_and_time(0), ((1 << 5) | 1, 0));
        assert_eq!(dos_date_and_time(i64::MAX), ((1 << 5) | 1, 0));
    }
}
