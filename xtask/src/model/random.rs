//! Random values for generated tests: the same on every run and machine.

/// Knuth's linear congruential generator of MMIX.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// The bytes with one edit: cut off, a byte changed, put in or taken out, a piece doubled or moved.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        /// What parsers trip over.
        const BYTES: &[u8] = b"\0\n\r\t \"'#&*!|>%@`{}[]:,-?.~0aZ\x7f\xff\xc3\xef\xbb\xbf";
        let byte = BYTES[self.below(BYTES.len())];
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(40)).min(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => bytes[at] = byte,
            3 => _ = bytes.drain(at..end),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece: Vec<u8> = bytes.drain(at..end).collect();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
        }
    }
}
