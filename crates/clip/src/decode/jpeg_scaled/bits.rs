//! Reads Huffman codes and the bits behind them out of entropy-coded data.

/// Bits that are looked up at once: most codes together with their value are no longer.
const LOOKUP_BITS: u32 = 10;

/// A place in the entropy-coded data.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    place: usize,
    /// The next bits, the first one on top; zeros below `count`.
    window: u64,
    count: u32,
    /// How many of the bits in the window were made up because the data ended.
    invented: u32,
}

/// One code, decoded for speed.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// The value that follows the code, if it fitted into the lookup; otherwise 0.
    value: i16,
    /// Length of the code, and of the value if there is one. 0 when the code is longer than the lookup.
    length: u8,
    /// Run in the upper half, size in the lower.
    symbol: u8,
}

/// A Huffman table.
pub(super) struct Table {
    lookup: Box<[Entry; 1 << LOOKUP_BITS]>,
    /// Per length: the first code beyond, aligned to 16 bits.
    ends: [u32; 17],
    /// Per length: what to add to a code to get its symbol's index.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the counts per length and the symbols, as they stand in the file.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            lookup: Box::new([Entry::default(); 1 << LOOKUP_BITS]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(counts[length as usize - 1]);
            if code + count > 1 << length {
                return None;
            }
            table.offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                table.enter(code, length, *symbols.get(index)?);
                code += 1;
                index += 1;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Fills the part of the lookup that begins with a code.
    fn enter(&mut self, code: u32, length: u32, symbol: u8) {
        if length > LOOKUP_BITS {
            return;
        }
        let free = LOOKUP_BITS - length;
        let size = u32::from(symbol & 15);
        for rest in 0..1_u32 << free {
            let entry = &mut self.lookup[((code << free) | rest) as usize];
            *entry = Entry { value: 0, length: length as u8, symbol };
            if size > 0 && size <= free {
                entry.value = extended(rest >> (free - size), size) as i16;
                entry.length = (length + size) as u8;
            }
        }
    }
}

/// A magnitude of `size` bits with its sign, as JPEG writes it.
fn extended(bits: u32, size: u32) -> i32 {
    if bits < 1 << (size - 1) { bits as i32 - (1 << size) + 1 } else { bits as i32 }
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, place: 0, window: 0, count: 0, invented: 0 }
    }

    /// Afterwards there are at least 32 bits: enough for one code and its value.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&[a, b, c, d]) = self.data.get(self.place..).and_then(|rest| rest.first_chunk())
        {
            let word = u32::from_be_bytes([a, b, c, d]);
            // Only a byte of 0xFF loses its top bit when one is added; no other carries into the next.
            if word & !word.wrapping_add(0x0101_0101) & 0x8080_8080 == 0 {
                self.window |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.place += 4;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = match self.data.get(self.place..).unwrap_or_default() {
                [0xFF, 0, ..] => {
                    self.place += 2;
                    0xFF
                }
                [0xFF, ..] | [] => {
                    self.invented += 8;
                    0
                }
                [byte, ..] => {
                    self.place += 1;
                    *byte
                }
            };
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Whether bits were used that were not in the data.
    pub(super) fn overrun(&self) -> bool {
        self.invented > self.count
    }

    /// Steps over the restart marker that has to be here.
    pub(super) fn restart(&mut self) -> Option<()> {
        if self.overrun() {
            return None;
        }
        // Whole bytes that were read ahead cannot be: the marker stops the reader.
        let [0xFF, 0xD0..=0xD7, ..] = self.data.get(self.place..)? else { return None };
        *self = Self { place: self.place + 2, ..Self::new(self.data) };
        Some(())
    }

    #[inline]
    fn peek(&self, bits: u32) -> u32 {
        (self.window >> (64 - bits)) as u32
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.count = self.count.wrapping_sub(bits);
    }

    /// One symbol.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        let mut length = 1;
        let code = self.peek(16);
        while code >= *table.ends.get(length)? {
            length += 1;
        }
        self.skip(length as u32);
        let index = (code >> (16 - length)) as i32 + table.offsets[length];
        table.symbols.get(usize::try_from(index).ok()?).copied()
    }

    /// A number of `size` bits with its sign.
    #[inline]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let bits = self.peek(size);
        self.skip(size);
        extended(bits, size)
    }

    /// How many zeros come before a coefficient, and the coefficient; 0 is the end of the block or 16 zeros.
    #[inline]
    pub(super) fn run_and_value(&mut self, table: &Table) -> Option<(usize, i32)> {
        let entry = table.lookup[self.peek(LOOKUP_BITS) as usize];
        if entry.value != 0 {
            self.skip(u32::from(entry.length));
            return Some((usize::from(entry.symbol >> 4), i32::from(entry.value)));
        }
        let symbol = if entry.length > 0 {
            self.skip(u32::from(entry.length));
            entry.symbol
        } else {
            self.symbol(table)?
        };
        let value = self.signed(u32::from(symbol & 15));
        Some((usize::from(symbol >> 4), value))
    }
}
