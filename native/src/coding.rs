//! Coding blocks of coefficients, and what a scan that is coded anew consists of: for splicing and for recoding alike.

use std::sync::Arc;

use crate::bits::Writer;
use crate::fault::Fault;
use crate::header::Header;
use crate::huffman::{Huffman, END_OF_BLOCK, ZERO_RUN};
use crate::region::Delta;

/// What baseline coding can say (T.81 F.1.2.1, F.1.2.2): DC differences of 11 bits, AC coefficients of 10.
pub const DC_BITS: u32 = 11;
const DC_RANGE: (i32, i32) = (-1024, 1023);
const AC_LARGEST: i32 = 1023;

/// Put `bytes` where `from..to` of the file was.
pub struct Replacement {
    pub from: usize,
    pub to: usize,
    pub bytes: Vec<u8>,
}

/// MCUs `begin..end` in a row of the picture, which hold row `row` of a change from its column `column` on.
#[derive(Clone, Copy)]
pub struct Run {
    pub begin: usize,
    pub end: usize,
    pub change: usize,
    pub row: usize,
    pub column: usize,
}

pub type Tables = [Option<Arc<Huffman>>; 8];

/// The replacements that state in the header what tables are not as they were.
pub fn stated(header: &Header, tables: &Tables) -> Result<Vec<Replacement>, Fault> {
    let mut replacements: Vec<Replacement> = Vec::new();
    let mut segments: Vec<(usize, usize)> = Vec::new();
    for (slot, table) in tables.iter().enumerate() {
        let (Some(new), Some(old)) = (table, &header.tables[slot]) else { continue };
        if Arc::ptr_eq(new, old) {
            continue;
        }
        let definition = header.definitions[slot];
        let at = segments.iter().position(|&(at, _)| at == definition.length_at).unwrap_or_else(|| {
            segments.push((definition.length_at, definition.segment_length));
            segments.len() - 1
        });
        segments[at].1 = (segments[at].1 + new.symbols.len()).checked_sub(old.symbols.len()).ok_or(Fault::Defect)?;
        replacements.push(Replacement {
            from: definition.counts_at,
            to: definition.end,
            bytes: [new.counts.as_slice(), &new.symbols].concat(),
        });
    }
    for (at, length) in segments {
        let length = u16::try_from(length).map_err(|_| Fault::NoCode)?;
        replacements.push(Replacement { from: at, to: at + 2, bytes: length.to_be_bytes().to_vec() });
    }
    replacements.sort_by_key(|replacement| replacement.from);
    Ok(replacements)
}

/// By how much a DC coefficient changes that is to change by `wanted`: no further than baseline coding can say.
#[inline(always)]
pub fn dc_shift(old: i32, wanted: i32) -> i32 {
    old.wrapping_add(wanted).clamp(old.min(DC_RANGE.0), old.max(DC_RANGE.1)).wrapping_sub(old)
}

/// Codes a block's AC coefficients, the `stated` ones of `old` and what is added to them: `put` gets each symbol, its
/// value and the bits of that (T.81 F.1.2.2).
#[inline(always)]
pub fn code_block(old: &[i16; 64], stated: u64, delta: &Delta, mut put: impl FnMut(u8, i32, u32)) {
    let mut places = stated | delta.stated;
    let mut last = 0u32;
    while places != 0 {
        let place = places.trailing_zeros();
        places &= places - 1;
        let (old, added) = (i32::from(old[place as usize & 63]), i32::from(delta.ac[place as usize & 63]));
        let value = if added == 0 { old } else { (old + added).clamp(old.min(-AC_LARGEST), old.max(AC_LARGEST)) };
        if value == 0 {
            continue;
        }
        let mut run = place - last - 1;
        last = place;
        while run > 15 {
            put(ZERO_RUN, 0, 0);
            run -= 16;
        }
        let size = bits_of(value);
        put((run << 4 | size) as u8, value, size);
    }
    if last != 63 {
        put(END_OF_BLOCK, 0, 0);
    }
}

/// A symbol's code << 8 | its length.
#[inline(always)]
pub fn code_or_lack(table: &Huffman, slot: usize, symbol: u8, missing: &mut Vec<(usize, u8)>) -> u32 {
    let code = table.code(symbol);
    if code == 0 {
        lacks(slot, symbol, missing);
        // Stands for the code of the next attempt.
        return 16;
    }
    code
}

#[cold]
fn lacks(slot: usize, symbol: u8, missing: &mut Vec<(usize, u8)>) {
    if !missing.contains(&(slot, symbol)) {
        missing.push((slot, symbol));
    }
}

#[inline(always)]
pub fn bits_of(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// Writes a code and the `size` bits of a value (T.81 F.1.2.1.1).
#[inline(always)]
pub fn put_value(writer: &mut Writer, code: u32, value: i32, size: u32) {
    let raw = (value - i32::from(value < 0)) as u32 & ((1u32 << size) - 1);
    writer.put(u64::from(code >> 8) << size | u64::from(raw), (code & 0xFF) + size);
}
