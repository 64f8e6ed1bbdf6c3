//! A bounded walk through the directories of TIFF data: EXIF blocks, TIFF files, and the raw files built like them.
//! Nothing here allocates by what the file says, and whatever does not lie inside the bytes is left out.

/// Entries that one directory may have; cameras write below a hundred.
const ENTRIES_MAX: usize = 1000;
/// Directories that are followed in one chain.
const CHAIN_MAX: usize = 16;

/// TIFF data.
#[derive(Clone, Copy)]
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    first: usize,
}

/// One entry, whose value lies inside the data.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) tag: u16,
    kind: u16,
    big_endian: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Tiff<'a> {
    /// Also with the numbers that raw files have in place of 42. BigTIFF is not read.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = match bytes.get(..4)? {
            [b'I', b'I', 42 | 0x55, 0] | b"IIRO" | b"IIRS" => false,
            [b'M', b'M', 0, 42] | b"MMOR" => true,
            _ => return None,
        };
        let mut tiff = Self { bytes, big_endian, first: 0 };
        tiff.first = tiff.u32(4)?;
        Some(tiff)
    }

    /// An EXIF block, with or without the six bytes that stand before it in a JPEG.
    pub(super) fn open_exif(block: &'a [u8]) -> Option<Self> {
        Self::open(block.strip_prefix(b"Exif\0\0").unwrap_or(block))
    }

    fn u16(&self, place: usize) -> Option<u16> {
        let pair = *self.bytes.get(place..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    }

    fn u32(&self, place: usize) -> Option<usize> {
        let word = *self.bytes.get(place..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
            as usize)
    }

    /// The entries of the directory at a place.
    pub(super) fn entries(self, place: usize) -> impl Iterator<Item = Entry<'a>> {
        let count = usize::from(self.u16(place).unwrap_or(0)).min(ENTRIES_MAX);
        (0..count).filter_map(move |index| self.entry(place + 2 + index * 12))
    }

    fn entry(&self, place: usize) -> Option<Entry<'a>> {
        let (tag, kind) = (self.u16(place)?, self.u16(place + 2)?);
        let length = self.u32(place + 4)?.checked_mul(unit(kind)?)?;
        let start = if length <= 4 { place + 8 } else { self.u32(place + 8)? };
        let value = self.bytes.get(start..start.checked_add(length)?)?;
        Some(Entry { tag, kind, big_endian: self.big_endian, value })
    }

    /// Places of the first directory and of those chained to it.
    pub(super) fn chain(self) -> impl Iterator<Item = usize> {
        let next = move |place: &usize| {
            let count = usize::from(self.u16(*place)?);
            self.u32(place + 2 + count * 12).filter(|next| *next != 0)
        };
        std::iter::successors(Some(self.first).filter(|first| *first != 0), next).take(CHAIN_MAX)
    }

    /// The entry of a tag in the directory at a place.
    pub(super) fn find(self, place: usize, tag: u16) -> Option<Entry<'a>> {
        self.entries(place).find(|entry| entry.tag == tag)
    }

    /// Puts another 16-bit number into the entry of a tag in the first directory of a copy of the data.
    pub(super) fn overwrite(self, copy: &mut [u8], tag: u16, number: u16) -> Option<()> {
        let count = usize::from(self.u16(self.first)?).min(ENTRIES_MAX);
        let mut places = (0..count).map(|index| self.first + 2 + index * 12);
        let place = places.find(|place| self.u16(*place) == Some(tag))?;
        let bytes = if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        // type 3 and one of them: the value stands in the entry
        let is_short = self.u16(place + 2) == Some(3) && self.u32(place + 4) == Some(1);
        copy.get_mut(place + 8..place + 10).filter(|_| is_short)?.copy_from_slice(&bytes);
        Some(())
    }

    /// The entry of a tag in the first directory.
    pub(super) fn find_first(self, tag: u16) -> Option<Entry<'a>> {
        self.find(self.first, tag)
    }
}

/// Bytes per value of a type.
fn unit(kind: u16) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 => 8,
        _ => return None,
    })
}

impl Entry<'_> {
    /// The integer with an index.
    pub(super) fn integer(&self, index: usize) -> Option<u32> {
        match self.kind {
            1 | 6 | 7 => self.value.get(index).map(|&byte| u32::from(byte)),
            3 => {
                let pair = *self.value.get(index * 2..)?.first_chunk()?;
                Some(u32::from(if self.big_endian {
                    u16::from_be_bytes(pair)
                } else {
                    u16::from_le_bytes(pair)
                }))
            }
            4 | 13 => self.word(index),
            _ => None,
        }
    }

    fn word(&self, index: usize) -> Option<u32> {
        let word = *self.value.get(index.checked_mul(4)?..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    }

    /// A place in the file, such as that of another directory.
    pub(super) fn offset(&self, index: usize) -> Option<usize> {
        self.integer(index).map(|offset| offset as usize)
    }

    /// The fraction with an index, if it is a number.
    pub(super) fn fraction(&self, index: usize) -> Option<f64> {
        let (above, below) = (self.word(index * 2)?, self.word(index * 2 + 1)?);
        let fraction = match self.kind {
            5 => f64::from(above) / f64::from(below),
            10 => f64::from(above as i32) / f64::from(below as i32),
            _ => return None,
        };
        fraction.is_finite().then_some(fraction)
    }

    /// The text, without what follows its end.
    pub(super) fn text(&self) -> Option<&str> {
        let end = self.value.iter().position(|&byte| byte == 0).unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok().filter(|_| matches!(self.kind, 2 | 7))
    }
}
