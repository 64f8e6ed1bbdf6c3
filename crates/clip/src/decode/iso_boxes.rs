//! The boxes of ISO media files, as far as pictures need them: which items there are, and where they lie.

/// Boxes that are looked at on one level, and items in one file.
const BOXES_MAX: usize = 4096;

/// The boxes of a level: type and payload. Ends where the data does not make sense any more.
pub(super) fn boxes(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = u64::from(u32::from_be_bytes(*rest.first_chunk()?));
        let kind = *rest.get(4..)?.first_chunk()?;
        let (head, size) = match size {
            0 => (8, rest.len() as u64),
            1 => (16, u64::from_be_bytes(*rest.get(8..)?.first_chunk()?)),
            size => (8, size),
        };
        // What is cut off at the end is still worth a look: the header of a file may be all there is.
        let end = usize::try_from(size).ok()?.min(rest.len());
        let payload = rest.get(head..end)?;
        rest = &rest[end..];
        Some((kind, payload))
    })
    .take(BOXES_MAX)
}

/// The first box of a type.
pub(super) fn find(level: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    boxes(level).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

/// The items of a HEIF or AVIF file.
pub(super) struct Items<'a> {
    file: &'a [u8],
    meta: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn open(file: &'a [u8]) -> Option<Self> {
        Some(Self { file, meta: find(file, *b"meta")?.get(4..)? })
    }

    /// The item that is the picture.
    pub(super) fn primary(&self) -> Option<u32> {
        let mut fields = Fields(find(self.meta, *b"pitm")?);
        let version = fields.integer(4)? >> 24;
        fields.integer(if version == 0 { 2 } else { 4 }).map(|id| id as u32)
    }

    /// Width and height of the picture, as its header says.
    #[cfg(any(feature = "heif", feature = "avif"))]
    pub(super) fn primary_size(&self) -> Option<(u32, u32)> {
        let properties = self.properties(self.primary()?);
        let (_, size) = properties.into_iter().find(|(kind, _)| kind == b"ispe")?;
        let mut fields = Fields(size.get(4..)?);
        Some((fields.integer(4)? as u32, fields.integer(4)? as u32))
    }

    /// Ids and types.
    pub(super) fn list(&self) -> impl Iterator<Item = (u32, [u8; 4])> {
        let entries = find(self.meta, *b"iinf").and_then(|info| {
            let mut fields = Fields(info);
            let version = fields.integer(4)? >> 24;
            fields.integer(if version == 0 { 2 } else { 4 })?;
            Some(fields.0)
        });
        boxes(entries.unwrap_or_default()).filter_map(|(kind, entry)| {
            let mut fields = Fields(entry);
            let version = fields.integer(4)? >> 24;
            if &kind != b"infe" || version < 2 {
                return None;
            }
            let id = fields.integer(if version == 2 { 2 } else { 4 })? as u32;
            fields.integer(2)?;
            Some((id, *fields.0.first_chunk()?))
        })
    }

    /// The type of an item.
    #[cfg(feature = "avif")]
    pub(super) fn kind(&self, wanted: u32) -> Option<[u8; 4]> {
        self.list().find(|(id, _)| *id == wanted).map(|(_, kind)| kind)
    }

    /// To which items one refers in a certain way.
    #[cfg(feature = "avif")]
    pub(super) fn references(&self, kind: [u8; 4], from: u32) -> Vec<u32> {
        self.references_of(kind, from).unwrap_or_default()
    }

    #[cfg(feature = "avif")]
    fn references_of(&self, wanted: [u8; 4], from: u32) -> Option<Vec<u32>> {
        let references = find(self.meta, *b"iref")?;
        let mut fields = Fields(references);
        let id_bytes = if fields.integer(4)? >> 24 == 0 { 2 } else { 4 };
        for (kind, entry) in boxes(fields.0) {
            let mut fields = Fields(entry);
            if kind == wanted && fields.integer(id_bytes)? == u64::from(from) {
                let count = fields.integer(2)?;
                return (0..count).map(|_| fields.integer(id_bytes).map(|id| id as u32)).collect();
            }
        }
        None
    }

    /// The bytes of the first item of a type.
    pub(super) fn data_of(&self, kind: [u8; 4]) -> Option<&'a [u8]> {
        let (id, _) = self.list().find(|(_, found)| *found == kind)?;
        self.data(id)
    }

    /// The bytes of an item, if they lie in the file in one piece.
    pub(super) fn data(&self, wanted: u32) -> Option<&'a [u8]> {
        let mut fields = Fields(find(self.meta, *b"iloc")?);
        let version = fields.integer(4)? >> 24;
        let sizes = fields.integer(2)? as usize;
        let (offset, length) = (sizes >> 12 & 15, sizes >> 8 & 15);
        let (base, index) = (sizes >> 4 & 15, if version == 0 { 0 } else { sizes & 15 });
        let count = fields.integer(if version < 2 { 2 } else { 4 })?;
        for _ in 0..count.min(BOXES_MAX as u64) {
            let id = fields.integer(if version < 2 { 2 } else { 4 })? as u32;
            let method = if version == 0 { 0 } else { fields.integer(2)? & 15 };
            fields.integer(2)?;
            let base = fields.integer(base)?;
            let extents = fields.integer(2)?;
            let mut first = None;
            for _ in 0..extents {
                fields.integer(index)?;
                let extent = (fields.integer(offset)?, fields.integer(length)?);
                first.get_or_insert(extent);
            }
            if id == wanted {
                let (start, length) = first.filter(|_| extents == 1)?;
                let start = usize::try_from(base.checked_add(start)?).ok()?;
                let source = match method {
                    0 => self.file,
                    1 => find(self.meta, *b"idat")?,
                    _ => return None,
                };
                return source.get(start..start.checked_add(usize::try_from(length).ok()?)?);
            }
        }
        None
    }

    /// The properties of an item, in the order in which they apply.
    pub(super) fn properties(&self, wanted: u32) -> Vec<([u8; 4], &'a [u8])> {
        self.associations(wanted).unwrap_or_default()
    }

    fn associations(&self, wanted: u32) -> Option<Vec<([u8; 4], &'a [u8])>> {
        let properties = find(self.meta, *b"iprp")?;
        let all: Vec<_> = boxes(find(properties, *b"ipco")?).collect();
        let mut fields = Fields(find(properties, *b"ipma")?);
        let flags = fields.integer(4)?;
        let (version, wide) = (flags >> 24, flags & 1 == 1);
        for _ in 0..fields.integer(4)?.min(BOXES_MAX as u64) {
            let id = fields.integer(if version < 1 { 2 } else { 4 })? as u32;
            let count = fields.integer(1)?;
            let mut found = Vec::new();
            for _ in 0..count {
                let index =
                    if wide { fields.integer(2)? & 0x7FFF } else { fields.integer(1)? & 0x7F };
                found.extend((index as usize).checked_sub(1).and_then(|index| all.get(index)));
            }
            if id == wanted {
                return Some(found);
            }
        }
        None
    }
}

/// Big-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// A number of up to 8 bytes; of no bytes it is 0.
    fn integer(&mut self, bytes: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(bytes.min(8))?;
        self.0 = rest;
        Some(number.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }
}
