//! The parts of a JPEG before its scan: sizes, quantisers, Huffman tables.

use std::rc::Rc;

use super::bits::Table;

/// What a scan needs to be decoded.
pub(super) struct Header<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// One (grey) or three (YCbCr).
    pub(super) components: Vec<Component>,
    /// MCUs between two restart markers; 0 for none.
    pub(super) restart_interval: u32,
    /// The entropy-coded data and all that follows.
    pub(super) data: &'a [u8],
}

/// One colour component with its tables.
pub(super) struct Component {
    /// Blocks per MCU, across and down.
    pub(super) sampling: (usize, usize),
    /// In file order.
    pub(super) quantisers: [u16; 64],
    pub(super) dc: Rc<Table>,
    pub(super) ac: Rc<Table>,
}

/// A component as the frame header names it.
struct Declared {
    id: u8,
    sampling: (usize, usize),
    quantiser: usize,
}

#[derive(Default)]
struct Tables {
    quantisers: [Option<[u16; 64]>; 4],
    dc: [Option<Rc<Table>>; 4],
    ac: [Option<Rc<Table>>; 4],
}

impl<'a> Header<'a> {
    /// Nothing if the file is of a kind that is not read here.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.get(2..)?;
        let mut tables = Tables::default();
        let mut frame: Option<(u32, u32, Vec<Declared>)> = None;
        let mut restart_interval = 0;
        loop {
            let [0xFF, marker, ..] = *rest else { return None };
            if marker == 0xFF {
                rest = &rest[1..];
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
            let segment = rest.get(4..length.checked_add(2)?)?;
            rest = &rest[length + 2..];
            match marker {
                0xDB => tables.read_quantisers(segment)?,
                0xC4 => tables.read_huffman(segment)?,
                // baseline, and sequential with more tables
                0xC0 | 0xC1 if frame.is_none() => frame = Some(read_frame(segment)?),
                0xDD => restart_interval = u32::from(u16_at(segment, 0)?),
                0xEE if !is_ycc(segment) => return None,
                0xDA => {
                    let (width, height, declared) = frame?;
                    let components = tables.components(&declared, segment)?;
                    return Some(Self { width, height, components, restart_interval, data: rest });
                }
                0xE0..=0xEF | 0xFE => {}
                // progressive, lossless, arithmetic, or nothing that belongs here
                _ => return None,
            }
        }
    }

    /// The largest sampling factors, across and down.
    pub(super) fn sampling_max(&self) -> (usize, usize) {
        let factors = || self.components.iter().map(|component| component.sampling);
        (factors().map(|(h, _)| h).max().unwrap_or(1), factors().map(|(_, v)| v).max().unwrap_or(1))
    }
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|&pair| u16::from_be_bytes(pair))
}

/// Adobe's marker says what the components are; without one they are YCbCr.
fn is_ycc(segment: &[u8]) -> bool {
    !segment.starts_with(b"Adobe") || segment.get(11) == Some(&1)
}

fn read_frame(segment: &[u8]) -> Option<(u32, u32, Vec<Declared>)> {
    let (height, width) = (u32::from(u16_at(segment, 1)?), u32::from(u16_at(segment, 3)?));
    let count = usize::from(*segment.get(5)?);
    if segment[0] != 8 || width == 0 || height == 0 || !matches!(count, 1 | 3) {
        return None;
    }
    let declared = segment.get(6..6 + count * 3)?.chunks_exact(3).map(|parts| {
        let (across, down) = (usize::from(parts[1] >> 4), usize::from(parts[1] & 15));
        let valid = (1..=4).contains(&across) && (1..=4).contains(&down) && parts[2] < 4;
        // A single component is stored block by block, whatever its factors say.
        let sampling = if count == 1 { (1, 1) } else { (across, down) };
        valid.then_some(Declared { id: parts[0], sampling, quantiser: usize::from(parts[2]) })
    });
    let declared = declared.collect::<Option<Vec<_>>>()?;
    // some writers name the components of an RGB file so, and add no marker
    let rgb = declared.iter().map(|component| component.id).eq(*b"RGB");
    (!rgb).then_some((width, height, declared))
}

impl Tables {
    fn read_quantisers(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (wide, index) = (kind >> 4 != 0, usize::from(kind & 15));
            let length = if wide { 128 } else { 64 };
            let values = rest.get(..length)?;
            let table = std::array::from_fn(|place| {
                if wide {
                    u16::from_be_bytes([values[2 * place], values[2 * place + 1]])
                } else {
                    u16::from(values[place])
                }
            });
            *self.quantisers.get_mut(index)? = Some(table);
            segment = &rest[length..];
        }
        Some(())
    }

    fn read_huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let counts: &[u8; 16] = rest.first_chunk()?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(16..16 + total)?;
            let table = Some(Rc::new(Table::new(counts, symbols)?));
            let set = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *set.get_mut(usize::from(kind & 15))? = table;
            segment = &rest[16 + total..];
        }
        Some(())
    }

    /// The components in the order of the scan header, which has to name all of them.
    fn components(&self, declared: &[Declared], scan: &[u8]) -> Option<Vec<Component>> {
        let (&count, rest) = scan.split_first()?;
        if usize::from(count) != declared.len() {
            return None;
        }
        let named = rest.chunks_exact(2).zip(declared);
        let components = named.map(|(parts, declared)| {
            if parts[0] != declared.id {
                return None;
            }
            Some(Component {
                sampling: declared.sampling,
                quantisers: self.quantisers[declared.quantiser]?,
                dc: self.dc.get(usize::from(parts[1] >> 4))?.clone()?,
                ac: self.ac.get(usize::from(parts[1] & 15))?.clone()?,
            })
        });
        let components = components.collect::<Option<Vec<_>>>()?;
        (components.len() == declared.len()).then_some(components)
    }
}
