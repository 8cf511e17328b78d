//! Huffman tables (T.81 annex C and F.2.2.3): decoding, encoding, and adding codes that a table lacks.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bits::Bits;
use crate::fault::Fault;

/// Bits that one look-up sees. 12: two tables of 16 KiB fit a first-level cache of 32.
const WINDOW: u32 = 12;
const ENTRIES: usize = 1 << WINDOW;
pub const ZERO_RUN: u8 = 0xF0;
pub const END_OF_BLOCK: u8 = 0;
/// Tables kept: of a few photos at once. 40 KiB each.
const KEPT: usize = 32;

static LATEST: Mutex<Vec<Arc<Huffman>>> = Mutex::new(Vec::new());

/// One table, of either class.
#[derive(Clone)]
pub struct Huffman {
    /// How many codes of each length 1..=16.
    pub counts: [u8; 16],
    pub symbols: Vec<u8>,
    /// Window -> code length | symbol << 8; 0 for codes longer than the window.
    first: Box<[u16; ENTRIES]>,
    /// Window -> bits used | coefficients passed << 8 | end of block << 16, of as many whole AC symbols as the window
    /// shows; 0 where it shows none. The last symbol's value bits may lie beyond the window.
    chain: Box<[u32; ENTRIES]>,
    /// Of each length: the largest code (-1 for none) and what to add to a code for its symbol's index.
    largest: [i32; 17],
    offset: [i32; 17],
    /// Symbol -> code << 8 | length; 0 for none.
    codes: [u32; 256],
}

impl Huffman {
    /// A table as DHT states it; refused where the codes do not fit their lengths. Building one takes 0.1 ms, and nearly all
    /// photos have the same ones: the latest are kept.
    pub fn shared(counts: [u8; 16], symbols: &[u8]) -> Result<Arc<Self>, Fault> {
        let kept = |tables: &Vec<Arc<Self>>| {
            tables.iter().find(|table| table.counts == counts && table.symbols == symbols).map(Arc::clone)
        };
        // A poisoned lock guards a list that is whole all the same.
        if let Some(table) = kept(&LATEST.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(table);
        }
        let table = Arc::new(Self::new(counts, symbols)?);
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(0, Arc::clone(&table));
        latest.truncate(KEPT);
        Ok(table)
    }

    /// A new table.
    pub fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self, Fault> {
        let mut table = Huffman {
            counts,
            symbols: symbols.to_vec(),
            first: boxed(0u16),
            chain: boxed(0u32),
            largest: [-1; 17],
            offset: [0; 17],
            codes: [0; 256],
        };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offset[length as usize] = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + count).ok_or(Fault::Damaged)? {
                if code >= 1 << length {
                    return Err(Fault::Damaged);
                }
                table.codes[usize::from(symbol)] = code << 8 | length;
                if length <= WINDOW {
                    let begin = (code << (WINDOW - length)) as usize;
                    let entry = length as u16 | u16::from(symbol) << 8;
                    table.first[begin..begin + (1 << (WINDOW - length))].fill(entry);
                }
                code += 1;
            }
            index += count;
            if count > 0 {
                table.largest[length as usize] = code as i32 - 1;
            }
            code <<= 1;
        }
        for window in 0..ENTRIES {
            table.chain[window] = table.chained(window);
        }
        Ok(table)
    }

    fn chained(&self, window: usize) -> u32 {
        let (mut used, mut passed, mut ended) = (0u32, 0u32, 0u32);
        while used < WINDOW {
            let entry = self.first[(window << used) & (ENTRIES - 1)];
            let (length, symbol) = (u32::from(entry & 0xFF), (entry >> 8) as u8);
            if length == 0 || used + length > WINDOW {
                break;
            }
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            used += length + size;
            if size == 0 && symbol != ZERO_RUN {
                ended = 1;
                break;
            }
            passed += run + 1;
        }
        used | passed << 8 | ended << 16
    }

    /// Reads one symbol; the caller has refilled.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut Bits) -> Result<u8, Fault> {
        let entry = self.first[(bits.next >> (64 - WINDOW)) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry & 0xFF));
            return Ok((entry >> 8) as u8);
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits) -> Result<u8, Fault> {
        for length in WINDOW as usize + 1..=16 {
            let code = (bits.next >> (64 - length)) as i32;
            if code <= self.largest[length] {
                bits.skip(length as u32);
                let index = code + self.offset[length];
                return self.symbols.get(index as usize).copied().ok_or(Fault::Damaged);
            }
        }
        Err(Fault::Damaged)
    }

    /// Reads one AC symbol and its value; the caller has refilled.
    #[inline(always)]
    pub fn symbol_and_value(&self, bits: &mut Bits) -> Result<(u8, i32), Fault> {
        let symbol = self.symbol(bits)?;
        Ok((symbol, value(bits, u32::from(symbol & 15))))
    }

    /// Reads one DC difference; refills before.
    #[inline(always)]
    pub fn difference(&self, bits: &mut Bits) -> Result<i32, Fault> {
        bits.refill();
        let size = u32::from(self.symbol(bits)?);
        if size > 15 {
            return Err(Fault::Damaged);
        }
        Ok(value(bits, size))
    }

    /// Passes a block's AC coefficients.
    #[inline(always)]
    pub fn skip_block(&self, bits: &mut Bits) -> Result<(), Fault> {
        self.skip_rest(bits, 1)
    }

    /// Reads a block's AC coefficients up to a place, and passes the others; see `read_block`.
    #[inline(always)]
    pub fn read_start(&self, bits: &mut Bits, block: &mut [i16; 64], last: u32) -> Result<u64, Fault> {
        let (mut place, mut stated) = (1u32, 0u64);
        while place <= last {
            bits.refill();
            let symbol = self.symbol(bits)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && symbol != ZERO_RUN {
                return Ok(stated);
            }
            place += run;
            if place > 63 {
                return Err(Fault::Damaged);
            }
            if size != 0 {
                block[place as usize] = value(bits, size) as i16;
                stated |= 1 << place;
            }
            place += 1;
        }
        if place < 64 {
            self.skip_rest(bits, place)?;
        }
        Ok(stated)
    }

    /// Passes a block's AC coefficients from a place on.
    #[inline(always)]
    fn skip_rest(&self, bits: &mut Bits, mut place: u32) -> Result<(), Fault> {
        loop {
            bits.refill();
            for _ in 0..2 {
                let entry = self.chain[(bits.next >> (64 - WINDOW)) as usize];
                let (used, passed, ended) = (entry & 0xFF, entry >> 8 & 0xFF, entry >> 16);
                if used != 0 && place + passed + ended <= 64 {
                    bits.skip(used);
                    place += passed;
                    if ended != 0 || place == 64 {
                        return Ok(());
                    }
                } else {
                    bits.refill();
                    let symbol = self.symbol(bits)?;
                    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
                    if size == 0 && symbol != ZERO_RUN {
                        return Ok(());
                    }
                    bits.skip(size);
                    place += run + 1;
                    if place >= 64 {
                        return if place == 64 { Ok(()) } else { Err(Fault::Damaged) };
                    }
                    bits.refill();
                }
            }
        }
    }

    /// Reads a block's AC coefficients, in zigzag order, into `block`. Returns which of them the stream states, one bit a
    /// place, and where the end of block stands: (bit position of its code, place it stands for), or None where the last
    /// coefficient ends the block.
    #[inline(always)]
    pub fn read_block(&self, bits: &mut Bits, block: &mut [i16; 64]) -> Result<(u64, Option<(usize, u32)>), Fault> {
        let (mut place, mut stated) = (1u32, 0u64);
        while place < 64 {
            bits.refill();
            let before = bits.position();
            let symbol = self.symbol(bits)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && symbol != ZERO_RUN {
                return Ok((stated, Some((before, place))));
            }
            place += run;
            if place > 63 {
                return Err(Fault::Damaged);
            }
            if size != 0 {
                block[place as usize] = value(bits, size) as i16;
                stated |= 1 << place;
            }
            place += 1;
        }
        Ok((stated, None))
    }

    /// A symbol's code << 8 | its length, 0 where the table lacks it.
    #[inline(always)]
    pub fn code(&self, symbol: u8) -> u32 {
        self.codes[usize::from(symbol)]
    }

    /// All codes, by symbol.
    pub fn codes(&self) -> &[u32; 256] {
        &self.codes
    }

    /// The zero run's code and length, if there is one.
    pub fn zero_run(&self) -> Option<(u64, u32)> {
        let code = self.code(ZERO_RUN);
        (code != 0).then_some((u64::from(code >> 8), code & 0xFF))
    }

    /// The table with codes for `missing` symbols added behind the last one, all others unchanged; None where there is no
    /// room. The code of all ones stays free (T.81 annex C).
    pub fn extended(&self, missing: &[u8]) -> Option<Self> {
        let last = (1..=16usize).rev().find(|&length| self.counts[length - 1] > 0)?;
        let next = self.largest[last] as u32 + 1;
        for length in last..=16 {
            let begin = next << (length - last);
            if begin as usize + missing.len() < 1 << length {
                let mut counts = self.counts;
                counts[length - 1] = u8::try_from(usize::from(counts[length - 1]) + missing.len()).ok()?;
                let symbols = [self.symbols.as_slice(), missing].concat();
                return Huffman::new(counts, &symbols).ok();
            }
        }
        None
    }
}

/// The best table for symbols that come so often (T.81 K.2): codes of 16 bits at most, that of all ones free.
pub fn optimal(frequencies: &[u32; 256]) -> Result<Huffman, Fault> {
    // The reserved code's symbol comes last: the least frequent, and of these the one with the largest number.
    let mut weights: Vec<u64> = frequencies.iter().map(|&count| u64::from(count)).chain([1]).collect();
    let mut sizes = [0usize; 257];
    let mut trees: Vec<Vec<usize>> = (0..257).map(|symbol| vec![symbol]).collect();
    loop {
        let lightest = |weights: &[u64], but: usize| {
            (0..257).rev().filter(|&tree| weights[tree] > 0 && tree != but).min_by_key(|&tree| weights[tree])
        };
        let Some(one) = lightest(&weights, 257) else { return Err(Fault::Defect) };
        let Some(other) = lightest(&weights, one) else { break };
        weights[one] += weights[other];
        weights[other] = 0;
        let joined = std::mem::take(&mut trees[other]);
        trees[one].extend(joined);
        for &symbol in &trees[one] {
            sizes[symbol] += 1;
        }
    }
    let mut lengths = [0usize; 258];
    for &size in sizes.iter().filter(|&&size| size > 0) {
        lengths[size] += 1;
    }
    // Two codes that are too long become one shorter by a bit; a shorter code becomes the prefix of two.
    for long in (17..258).rev() {
        while lengths[long] > 0 {
            let prefix = (1..long - 1).rev().find(|&length| lengths[length] > 0).ok_or(Fault::Defect)?;
            lengths[long] = lengths[long].checked_sub(2).ok_or(Fault::Defect)?;
            lengths[long - 1] += 1;
            lengths[prefix + 1] += 2;
            lengths[prefix] -= 1;
        }
    }
    // The reserved code is one of the longest.
    let longest = (1..=16).rev().find(|&length| lengths[length] > 0).ok_or(Fault::Defect)?;
    lengths[longest] -= 1;
    let mut symbols: Vec<u8> = (0..=255u8).filter(|&symbol| sizes[usize::from(symbol)] > 0).collect();
    symbols.sort_by_key(|&symbol| sizes[usize::from(symbol)]);
    let mut counts = [0u8; 16];
    for (count, &length) in counts.iter_mut().zip(&lengths[1..=16]) {
        *count = u8::try_from(length).map_err(|_| Fault::Defect)?;
    }
    Huffman::new(counts, &symbols)
}

/// Reads `size` value bits (T.81 F.2.2.1, EXTEND).
#[inline(always)]
fn value(bits: &mut Bits, size: u32) -> i32 {
    if size == 0 {
        return 0;
    }
    let raw = (bits.next >> (64 - size)) as i32;
    bits.skip(size);
    if raw < 1 << (size - 1) {
        raw - (1 << size) + 1
    } else {
        raw
    }
}

fn boxed<T: Copy + std::fmt::Debug>(value: T) -> Box<[T; ENTRIES]> {
    vec![value; ENTRIES].try_into().expect("as long as the array")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits_for(frequencies: &[u32; 256], table: &Huffman) -> u64 {
        (0..=255u8).map(|symbol| u64::from(frequencies[usize::from(symbol)]) * u64::from(table.code(symbol) & 0xFF)).sum()
    }

    #[test]
    fn the_best_table_has_every_symbol_and_no_code_of_all_ones() {
        // Powers of two want codes of up to 40 bits.
        let steep = std::array::from_fn(|symbol| if symbol < 31 { 1u32 << symbol } else { 0 });
        let flat = [7; 256];
        let mut lone = [0; 256];
        lone[9] = 3;
        for frequencies in [steep, flat, lone] {
            let table = optimal(&frequencies).unwrap();
            for symbol in 0..=255u8 {
                let code = table.code(symbol);
                assert_eq!(code != 0, frequencies[usize::from(symbol)] > 0);
                assert!(code == 0 || code >> 8 != (1 << (code & 0xFF)) - 1);
            }
        }
        // One bit each, two with the reserved code beside them.
        assert_eq!(bits_for(&lone, &optimal(&lone).unwrap()), 3);
        // 255 symbols of 8 bits, and one of 9 beside the reserved one.
        assert_eq!(bits_for(&flat, &optimal(&flat).unwrap()), 7 * (255 * 8 + 9));
    }
}
