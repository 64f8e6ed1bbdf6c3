//! Raw files as cameras lay them out, made by hand: of each the largest JPEG for the eye is taken.
#![allow(clippy::unwrap_used)]

use clip::{
    DecodeLimits, PictureFormat, Sniffed, Wanted, decode, decode_wanted, read_facts, sniff,
};
use image::{Rgb, RgbImage};

/// A JPEG of one colour.
fn jpeg(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    RgbImage::from_pixel(width, height, Rgb(colour)).write_with_encoder(encoder).unwrap();
    bytes
}

fn preview() -> Vec<u8> {
    jpeg(640, 480, [30, 180, 60])
}

fn thumbnail() -> Vec<u8> {
    jpeg(160, 120, [200, 40, 40])
}

/// A lossless JPEG, as sensor data is kept: larger than every preview, and nothing to look at.
fn sensor_data() -> Vec<u8> {
    let mut bytes = preview();
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 1] = 0xC3;
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x10, 0, 0x20, 0]);
    bytes
}

/// A little-endian directory of 32-bit values, at its place in the file.
fn directory(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = (entries.len() as u16).to_le_bytes().to_vec();
    for (tag, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

/// Tags with their values.
type Entries = Vec<(u16, u32)>;

/// Header, a directory, directories below it, then the given data; `entries` is told where the data begins.
fn tiff(
    magic: [u8; 4],
    entries: impl Fn(u32) -> (Entries, Vec<Entries>),
    data: &[&[u8]],
) -> Vec<u8> {
    let assemble = |start: u32| {
        let (first, below) = entries(start);
        let mut bytes = magic.to_vec();
        bytes.extend(16_u32.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(directory(&first));
        for entries in below {
            bytes.extend(directory(&entries));
        }
        bytes
    };
    let head = assemble(0).len() as u32;
    [assemble(head), data.concat()].concat()
}

/// As Nikon does: the thumbnail first, preview and sensor data in directories below.
fn nef() -> Vec<u8> {
    let (small, large) = (thumbnail(), preview());
    let lengths = (small.len() as u32, large.len() as u32);
    let entries = |start: u32| {
        let first_end = 16 + 2 + 5 * 12 + 4;
        let first = vec![(273, start), (279, lengths.0), (330, first_end), (274, 6), (50706, 1)];
        let below = vec![vec![(513, start + lengths.0), (514, lengths.1)]];
        (first, below)
    };
    tiff(*b"II*\0", entries, &[&small, &large, &sensor_data()])
}

fn cr2() -> Vec<u8> {
    let large = preview();
    let length = large.len() as u32;
    let mut bytes = tiff(
        *b"II*\0",
        |start| (vec![(273, start), (279, length)], vec![]),
        &[&large, &sensor_data()],
    );
    bytes[8..10].copy_from_slice(b"CR");
    bytes
}

/// The preview is named nowhere that we look: the file is searched.
fn orf() -> Vec<u8> {
    tiff(
        *b"IIRO",
        |_| (vec![(256, 4000)], vec![]),
        &[&[7; 3000], &thumbnail(), &preview(), &sensor_data()],
    )
}

fn rw2() -> Vec<u8> {
    let large = preview();
    let length = large.len() as u32;
    let mut bytes = tiff(*b"IIU\0", |start| (vec![(0x2E, start)], vec![]), &[&large]);
    // bytes, as many as the preview has
    bytes[20..26].copy_from_slice(&[&[7, 0][..], &length.to_le_bytes()].concat());
    bytes
}

fn raf() -> Vec<u8> {
    let large = preview();
    let mut bytes = b"FUJIFILMCCD-RAW 0201".to_vec();
    bytes.resize(84, 0);
    bytes.extend(100_u32.to_be_bytes());
    bytes.extend((large.len() as u32).to_be_bytes());
    bytes.resize(100, 0);
    [bytes, large, sensor_data()].concat()
}

fn cr3() -> Vec<u8> {
    let iso =
        |kind: &[u8], data: &[u8]| [&(data.len() as u32 + 8).to_be_bytes(), kind, data].concat();
    [iso(b"ftyp", b"crx \0\0\0\x01crx isom"), iso(b"mdat", &[preview(), sensor_data()].concat())]
        .concat()
}

#[test]
fn the_largest_preview_is_taken() {
    let files = [
        ("nef", nef()),
        ("cr2", cr2()),
        ("orf", orf()),
        ("rw2", rw2()),
        ("raf", raf()),
        ("cr3", cr3()),
    ];
    for (name, bytes) in files {
        assert_eq!(sniff(&bytes[..512]), Sniffed::Picture(PictureFormat::Raw), "{name}");
        let decoded = decode(&bytes, &DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(decoded.format, PictureFormat::Raw, "{name}");
        // Nikon's is turned
        let size = if name == "nef" { (480, 640) } else { (640, 480) };
        assert_eq!((decoded.width, decoded.height), size, "{name}");
        assert_eq!(decoded.rgb.dimensions(), size, "{name}");
        let pixel = decoded.rgb.get_pixel(100, 100).0;
        assert!(pixel[1] > 150 && pixel[0] < 60, "{name}: {pixel:?}");
        let small =
            decode_wanted(&bytes, &DecodeLimits::default(), Wanted::ShortEdge(100)).unwrap();
        assert_eq!(small.rgb.width().min(small.rgb.height()), 120, "{name}");
    }
    assert_eq!(read_facts(&nef()).orientation, Some(6));
}

#[test]
fn without_a_preview_there_is_no_picture() {
    let bytes =
        tiff(*b"II*\0", |_| (vec![(50706, 1), (274, 1)], vec![]), &[&sensor_data(), &[0; 600]]);
    let error = decode(&bytes, &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.code(), "corrupt_image");
    assert!(error.to_string().contains("embedded JPEG"), "{error}");
}

#[test]
fn damaged_files_never_panic() {
    for whole in [nef(), cr2(), orf(), rw2(), raf(), cr3()] {
        for place in (0..200).step_by(5) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xFF;
            let _ = decode_wanted(&damaged, &DecodeLimits::default(), Wanted::ShortEdge(60));
            read_facts(&damaged);
            read_facts(&whole[..place]);
        }
    }
}
