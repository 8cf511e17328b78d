//! Coding a whole scan anew with other Huffman tables: for photos whose own ones have no room for a code that is needed.

use std::sync::Arc;

use crate::bits::{Bits, Writer};
use crate::coding::{bits_of, code_block, dc_shift, put_value, stated, Replacement, Run, Tables, DC_BITS};
use crate::fault::Fault;
use crate::huffman::{optimal, Huffman, ZERO_RUN};
use crate::region::Change;
use crate::scan::Scan;

/// Writes symbols with other codes.
struct Coder<'a> {
    /// Each table's codes, as `Huffman::code` gives them.
    codes: [&'a [u32; 256]; 8],
    /// Which tables are the file's own.
    kept: [bool; 8],
    writer: Writer,
    lacks: bool,
}

impl Coder<'_> {
    #[inline(always)]
    fn put(&mut self, slot: usize, symbol: u8, value: i32, size: u32) {
        let code = self.codes[slot & 7][usize::from(symbol)];
        if code == 0 {
            self.lacks = true;
        } else {
            put_value(&mut self.writer, code, value, size);
        }
    }
}

/// The replacements that apply changes with new tables in the slots `full`, and `tables` in all others.
#[inline(always)]
pub fn recoded(
    scan: &Scan,
    changes: &[Change],
    runs: &[Run],
    mut tables: Tables,
    full: &[usize],
    missing: &[(usize, u8)],
) -> Result<Vec<Replacement>, Fault> {
    for &slot in full {
        let symbols = missing.iter().filter(|&&(place, _)| place == slot).map(|&(_, symbol)| symbol);
        tables[slot & 7] = Some(Arc::new(renewed(scan.header.table(slot)?, symbols)?));
    }
    let mut replacements = stated(&scan.header, &tables)?;
    let codes = std::array::from_fn(|slot| tables[slot].as_ref().map_or(&[0; 256], |table| table.codes()));
    let kept = std::array::from_fn(|slot| match (&tables[slot], &scan.header.tables[slot]) {
        (Some(new), Some(old)) => Arc::ptr_eq(new, old),
        _ => false,
    });
    for (index, segment) in scan.segments.iter().enumerate() {
        let length = segment.file_end - segment.file_begin;
        let mut coder = Coder { codes, kept, writer: Writer::with_capacity(length + length / 8 + 64), lacks: false };
        walk(scan, changes, runs, index, &mut coder)?;
        if coder.lacks {
            return Err(Fault::Defect);
        }
        replacements.push(Replacement { from: segment.file_begin, to: segment.file_end, bytes: coder.writer.finish() });
    }
    Ok(replacements)
}

/// The best table for the symbols of a table and some more. How often its own ones come is what the lengths of their codes
/// say: a table without room was made for the scan that it codes, and counting again would read that once more.
fn renewed(table: &Huffman, missing: impl Iterator<Item = u8>) -> Result<Huffman, Fault> {
    let mut frequencies = [0; 256];
    for &symbol in &table.symbols {
        frequencies[usize::from(symbol)] = 1 << (16 - (table.code(symbol) & 0xFF).min(16));
    }
    for symbol in missing {
        frequencies[usize::from(symbol)] = 1;
    }
    optimal(&frequencies)
}

/// Codes all symbols of a segment, with the changes made.
#[inline(always)]
fn walk(scan: &Scan, changes: &[Change], runs: &[Run], segment: usize, coder: &mut Coder) -> Result<(), Fault> {
    let header = &scan.header;
    let (first, behind) = scan.mcus_of(segment);
    let data = scan.data_of(segment)?;
    let mut place = scan.beginning(segment)?;
    let mut shifts = [0; 3];
    let mut next = runs.partition_point(|run| run.end <= first);
    for mcu in first..behind {
        while runs.get(next).is_some_and(|run| run.end <= mcu) {
            next += 1;
        }
        let run = runs.get(next).filter(|run| run.begin <= mcu);
        for &block in &header.blocks {
            let component = &header.components[block.component];
            let (dc_table, ac_table) = (header.table(component.dc)?, header.table(component.ac)?);
            let delta = match run {
                Some(run) => {
                    let change = changes.get(run.change).ok_or(Fault::Defect)?;
                    change.delta(header, block, run.column + mcu - run.begin, run.row)
                }
                None => None,
            };
            let difference = dc_table.difference(&mut place.bits)?;
            let old = place.dc[block.component].wrapping_add(difference);
            place.dc[block.component] = old;
            let shift = delta.as_ref().map_or(0, |delta| dc_shift(old, delta.dc));
            let new = difference.wrapping_add(shift).wrapping_sub(shifts[block.component]);
            shifts[block.component] = shift;
            let size = bits_of(new);
            if size > DC_BITS && new != difference {
                return Err(Fault::NoCode);
            }
            coder.put(component.dc, size as u8, new, size);
            match delta {
                Some(delta) if delta.stated != 0 => {
                    let mut coefficients = [0i16; 64];
                    let (stated, _) = ac_table.read_block(&mut place.bits, &mut coefficients)?;
                    code_block(&coefficients, stated, &delta, |symbol, value, size| {
                        coder.put(component.ac, symbol, value, size);
                    });
                }
                _ if coder.kept[component.ac & 7] => {
                    let before = place.bits.position();
                    ac_table.skip_block(&mut place.bits)?;
                    coder.writer.copy(data, before, place.bits.position());
                }
                _ => copy_block(ac_table, &mut place.bits, component.ac, coder)?,
            }
        }
        if place.bits.is_overrun() {
            return Err(Fault::Damaged);
        }
    }
    Ok(())
}

/// A block's AC symbols as they stand.
#[inline(always)]
fn copy_block(table: &Huffman, bits: &mut Bits, slot: usize, coder: &mut Coder) -> Result<(), Fault> {
    let mut place = 1u32;
    while place < 64 {
        bits.refill();
        let (symbol, value) = table.symbol_and_value(bits)?;
        coder.put(slot, symbol, value, u32::from(symbol & 15));
        // Whatever run such a symbol states, decoders take it for the end.
        if symbol & 15 == 0 && symbol != ZERO_RUN {
            return Ok(());
        }
        place += u32::from(symbol >> 4) + 1;
    }
    if place == 64 {
        Ok(())
    } else {
        Err(Fault::Damaged)
    }
}
