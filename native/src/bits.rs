//! Reading and writing bits, most significant first. Reads beyond the end give one bits and show in the position.

/// A reader over entropy-coded data without stuffed bytes. After `refill`, 56 bits at least can be read.
pub struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the top; zeros below.
    pub next: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    pub fn new(data: &'a [u8], bit: usize) -> Self {
        let mut bits = Bits { data, at: bit / 8, next: 0, held: 0 };
        bits.refill();
        bits.skip((bit % 8) as u32);
        bits
    }

    #[inline(always)]
    pub fn refill(&mut self) {
        if let Some(chunk) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            self.next |= u64::from_be_bytes(*chunk) >> self.held;
            self.at += ((63 - self.held) >> 3) as usize;
            self.held |= 56;
        } else {
            self.refill_at_end();
        }
    }

    #[cold]
    fn refill_at_end(&mut self) {
        while self.held < 56 {
            let byte = self.data.get(self.at).copied().unwrap_or(0xFF);
            self.next |= u64::from(byte) << (56 - self.held);
            self.at += 1;
            self.held += 8;
        }
    }

    /// Drops `count` bits, at most those that were refilled.
    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        self.next = self.next.wrapping_shl(count);
        self.held = self.held.wrapping_sub(count);
    }

    /// Bits read so far.
    #[inline(always)]
    pub fn position(&self) -> usize {
        self.at * 8 - self.held as usize
    }

    pub fn is_overrun(&self) -> bool {
        self.position() > self.data.len() * 8
    }
}

/// The 64 bits that begin at `bit`, ones beyond the end.
#[inline(always)]
fn word_at(data: &[u8], bit: usize) -> u64 {
    let (byte, shift) = (bit / 8, (bit % 8) as u32);
    if let Some(chunk) = data.get(byte..).and_then(|rest| rest.first_chunk::<9>()) {
        let [first @ .., last] = *chunk;
        (u64::from_be_bytes(first) << shift) | (u64::from(last) >> (8 - shift))
    } else {
        word_at_end(data, byte, shift)
    }
}

#[cold]
fn word_at_end(data: &[u8], byte: usize, shift: u32) -> u64 {
    let wide = (0..9).fold(0u128, |wide, index| wide << 8 | u128::from(data.get(byte + index).copied().unwrap_or(0xFF)));
    (wide >> (8 - shift)) as u64
}

/// A writer that stuffs a zero behind every byte 0xFF (T.81 B.1.1.5).
pub struct Writer {
    bytes: Vec<u8>,
    stuffed: usize,
    pending: u64,
    held: u32,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Writer { bytes: Vec::with_capacity(bytes), stuffed: 0, pending: 0, held: 0 }
    }

    /// Bits written so far, without the stuffed ones.
    pub fn position(&self) -> usize {
        (self.bytes.len() - self.stuffed) * 8 + self.held as usize
    }

    /// Writes the low `count` bits of `value`, 1..=64 of them.
    #[inline(always)]
    pub fn put(&mut self, value: u64, count: u32) {
        let free = 64 - self.held;
        if count < free {
            self.pending |= (value & (u64::MAX >> (64 - count))) << (free - count);
            self.held += count;
        } else {
            let over = count - free;
            let value = value & (u64::MAX >> (64 - count));
            self.flush_word(self.pending | value >> over);
            self.pending = if over == 0 { 0 } else { value << (64 - over) };
            self.held = over;
        }
    }

    /// Copies the bits `from..to` of `data`.
    pub fn copy(&mut self, data: &[u8], mut from: usize, to: usize) {
        while to.saturating_sub(from) >= 64 {
            let word = word_at(data, from);
            from += 64;
            // `put(word, 64)`, without its branches.
            let out = self.pending | word >> self.held;
            self.flush_word(out);
            self.pending = if self.held == 0 { 0 } else { word << (64 - self.held) };
        }
        if to > from {
            let count = (to - from) as u32;
            self.put(word_at(data, from) >> (64 - count), count);
        }
    }

    /// The bytes, after the last one was filled up with ones.
    pub fn finish(mut self) -> Vec<u8> {
        if self.held % 8 != 0 {
            self.put(0xFF, 8 - self.held % 8);
        }
        let (word, count) = (self.pending, self.held / 8);
        for byte in word.to_be_bytes().into_iter().take(count as usize) {
            self.push(byte);
        }
        self.bytes
    }

    #[inline(always)]
    fn flush_word(&mut self, word: u64) {
        let inverted = !word;
        if inverted.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        } else {
            word.to_be_bytes().into_iter().for_each(|byte| self.push(byte));
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
        if byte == 0xFF {
            self.bytes.push(0);
            self.stuffed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_from_any_bit_to_any_bit_keeps_the_bits() {
        let data: Vec<u8> = (0..60u32).map(|i| (i * 37 % 251) as u8 | if i % 7 == 0 { 0xFF } else { 0 }).collect();
        for from in 0..20 {
            for to in from..300 {
                for lead in 0..9 {
                    let mut writer = Writer::with_capacity(0);
                    if lead > 0 {
                        writer.put(0, lead);
                    }
                    writer.copy(&data, from, to);
                    assert_eq!(writer.position(), lead as usize + to - from);
                    let stuffed = writer.finish();
                    let mut plain = Vec::new();
                    let mut at = 0;
                    while at < stuffed.len() {
                        plain.push(stuffed[at]);
                        at += 1 + usize::from(stuffed[at] == 0xFF);
                    }
                    for bit in from..to {
                        let expected = data[bit / 8] >> (7 - bit % 8) & 1;
                        let place = bit - from + lead as usize;
                        assert_eq!(plain[place / 8] >> (7 - place % 8) & 1, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_reader_counts_what_lies_beyond_the_end() {
        let mut bits = Bits::new(&[0xA5], 0);
        assert_eq!(bits.next >> 56, 0xA5);
        bits.skip(8);
        assert!(!bits.is_overrun());
        bits.refill();
        bits.skip(1);
        assert!(bits.is_overrun());
    }
}
