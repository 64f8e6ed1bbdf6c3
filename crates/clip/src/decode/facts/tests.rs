//! Headers made by hand: what they say is read, and what is broken in them costs nothing else.
#![allow(clippy::unwrap_used)]

use super::*;

/// Little-endian TIFF data with one directory after the other; values that are longer than four bytes lie at the end.
struct Header {
    directories: Vec<Vec<Field>>,
}

/// Tag, type, count and bytes; without bytes it points to the next directory.
type Field = (u16, u16, u32, Vec<u8>);

impl Header {
    fn new() -> Self {
        Self { directories: vec![Vec::new()] }
    }

    fn text(self, tag: u16, text: &str) -> Self {
        let bytes = [text.as_bytes(), b"\0"].concat();
        self.value(tag, 2, bytes.len() as u32, bytes)
    }

    fn value(mut self, tag: u16, kind: u16, count: u32, bytes: Vec<u8>) -> Self {
        self.directories.last_mut().unwrap().push((tag, kind, count, bytes));
        self
    }

    fn fractions(self, tag: u16, parts: &[(u32, u32)]) -> Self {
        let bytes = parts.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat());
        self.value(tag, 5, parts.len() as u32, bytes.collect())
    }

    /// Goes on in another directory, to which the tag in the first one points.
    fn below(mut self, tag: u16) -> Self {
        self.directories[0].push((tag, 4, 1, Vec::new()));
        self.directories.push(Vec::new());
        self
    }

    fn bytes(self) -> Vec<u8> {
        let size = |directory: &Vec<_>| 6 + directory.len() * 12;
        let mut place = 8;
        let places: Vec<usize> = self
            .directories
            .iter()
            .map(|directory| {
                let next = place + size(directory);
                std::mem::replace(&mut place, next)
            })
            .collect();
        let (mut out, mut values) = (b"II*\0\x08\0\0\0".to_vec(), Vec::new());
        let mut next = 1;
        for directory in &self.directories {
            out.extend((directory.len() as u16).to_le_bytes());
            for (tag, kind, count, bytes) in directory {
                out.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
                out.extend(count.to_le_bytes());
                let mut field = bytes.clone();
                if field.is_empty() {
                    field = (places[next] as u32).to_le_bytes().to_vec();
                    next += 1;
                } else if field.len() > 4 {
                    field = ((place + values.len()) as u32).to_le_bytes().to_vec();
                    values.extend(bytes);
                }
                field.resize(4, 0);
                out.extend(field);
            }
            out.extend([0; 4]);
        }
        [out, values].concat()
    }
}

fn exif() -> Header {
    Header::new()
        .text(MAKE, "Apple ")
        .text(MODEL, "iPhone 15 Pro")
        .value(ORIENTATION, 3, 1, vec![6, 0])
        .text(MODIFIED, "2024:07:01 10:00:00")
        .below(EXIF_DIRECTORY)
        .text(TAKEN, "2024:06:30 23:59:58")
        .text(0x9011, "+02:00")
        .text(0x9291, "045")
        .text(LENS_MAKE, "Apple")
        .text(LENS_MODEL, "back camera 6.86mm f/1.78")
        .below(GPS_DIRECTORY)
        .text(1, "S")
        .fractions(2, &[(33, 1), (51, 1), (2520, 100)])
        .text(3, "E")
        .fractions(4, &[(151, 1), (12, 1), (0, 1)])
        .fractions(6, &[(585, 10)])
}

fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8];
    for (marker, content) in segments {
        bytes.extend([0xFF, *marker]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(*content);
    }
    bytes.extend([0xFF, 0xDA, 0, 2]);
    bytes
}

fn of_exif(header: &[u8]) -> Facts {
    read_facts(&jpeg(&[(0xE1, &[b"Exif\0\0", header].concat())]))
}

#[test]
fn everything_that_a_phone_writes_is_read() {
    let facts = of_exif(&exif().bytes());
    let taken = facts.taken.unwrap();
    assert_eq!((taken.from, taken.offset_minutes), (TakenFrom::ExifOriginal, Some(120)));
    // 2024-06-30T21:59:58.045Z
    assert_eq!(taken.unix_ms(0), 1_719_784_798_045);
    assert_eq!(facts.camera_make.as_deref(), Some("Apple"));
    assert_eq!(facts.camera_model.as_deref(), Some("iPhone 15 Pro"));
    assert_eq!(facts.lens.as_deref(), Some("Apple back camera 6.86mm f/1.78"));
    assert_eq!(facts.orientation, Some(6));
    let gps = facts.gps.unwrap();
    assert!((gps.latitude + 33.857).abs() < 1e-4 && (gps.longitude - 151.2).abs() < 1e-9);
    assert_eq!(gps.altitude_m, Some(58.5));
}

#[test]
fn a_cut_or_damaged_header_never_panics_and_keeps_the_rest() {
    let whole = exif().bytes();
    for length in 0..whole.len() {
        of_exif(&whole[..length]);
        let mut damaged = whole.clone();
        damaged[length] ^= 0xFF;
        of_exif(&damaged);
    }
    // the directory of the GPS receiver points behind the end
    let lost = of_exif(
        &Header::new().text(MODEL, "X100").value(GPS_DIRECTORY, 4, 1, vec![0xFF; 4]).bytes(),
    );
    assert_eq!((lost.camera_model.as_deref(), lost.gps), (Some("X100"), None));
    // a chain that bites its own tail
    let mut ring = Header::new().text(MODEL, "X").bytes();
    let end = ring.len();
    ring[end - 4..].copy_from_slice(&[8, 0, 0, 0]);
    assert_eq!(of_exif(&ring).camera_model.as_deref(), Some("X"));
}

#[test]
fn xmp_stands_in_where_exif_says_nothing() {
    let packet = br#"<x:xmpmeta><rdf:Description tiff:Model="Scanner" tiff:Orientation="8"
        xmp:CreateDate="2001-02-03T04:05:06.7-01:30"/></x:xmpmeta>"#;
    let packet = [b"http://ns.adobe.com/xap/1.0/\0", &packet[..]].concat();
    let facts = read_facts(&jpeg(&[(0xE1, &packet)]));
    let taken = facts.taken.unwrap();
    assert_eq!((taken.from, taken.offset_minutes), (TakenFrom::Xmp, Some(-90)));
    assert_eq!((taken.hour, taken.second, taken.millisecond), (4, 6, 700));
    assert_eq!((facts.camera_model.as_deref(), facts.orientation), (Some("Scanner"), Some(8)));
    let exif = [b"Exif\0\0", &exif().bytes()[..]].concat();
    let both = read_facts(&jpeg(&[(0xE1, &packet), (0xE1, &exif)]));
    assert_eq!((both.taken.unwrap().year, both.orientation), (2024, Some(6)));
}

#[test]
fn times_that_cannot_be_are_none() {
    for text in
        ["0000:00:00 00:00:00", "    :  :     :  :  ", "2023:02:29 10:00:00", "2023:13:01", ""]
    {
        assert_eq!(Taken::parse(text, TakenFrom::Xmp), None, "{text}");
    }
    let day = Taken::parse("1970-01-02", TakenFrom::Xmp).unwrap();
    assert_eq!((day.unix_ms(0), day.unix_ms(60)), (86_400_000, 82_800_000));
}

#[test]
fn each_container_is_searched_where_it_keeps_its_header() {
    let exif = exif().bytes();
    let chunk = |kind: &[u8], data: &[u8]| {
        [&(data.len() as u32).to_be_bytes(), kind, data, &[0; 4]].concat()
    };
    let png =
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &[0; 13]), chunk(b"eXIf", &exif)].concat();
    let mut webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    webp.extend([b"EXIF", &(exif.len() as u32).to_le_bytes()[..], &exif].concat());
    let iso =
        |kind: &[u8], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes(), kind, data].concat();
    let jxl = [iso(b"JXL ", b"\r\n\x87\n"), iso(b"Exif", &[&[0; 4][..], &exif].concat())].concat();
    let canon = iso(b"uuid", &[&[0; 16][..], &iso(b"CMT1", &exif)].concat());
    let cr3 = [iso(b"ftyp", b"crx \0\0\0\x01crx isom"), iso(b"moov", &canon)].concat();
    for (name, bytes) in [("png", png), ("webp", webp), ("jxl", jxl), ("cr3", cr3), ("tiff", exif)]
    {
        let facts = read_facts(&bytes);
        assert_eq!(facts.camera_model.as_deref(), Some("iPhone 15 Pro"), "{name}");
        assert_eq!(facts.orientation, Some(6), "{name}");
        assert!(facts.taken.is_some() && facts.gps.is_some(), "{name}");
    }
}
