//! Coding a whole scan anew with other Huffman tables: for photos whose own ones have no room for a code that is needed.

use std::sync::Arc;

use crate::bits::{Bits, Writer};
use crate::fault::Fault;
use crate::huffman::{optimal, Huffman, ZERO_RUN};
use crate::region::Change;
use crate::scan::Scan;
use crate::splice::{bits_of, code_block, dc_shift, put_value, stated, Replacement, Run, Tables, DC_BITS};

/// Takes a scan's symbols in order: table, symbol, value and the bits of that.
trait Sink {
    fn put(&mut self, slot: usize, symbol: u8, value: i32, size: u32);
}

/// How often each table's symbols come.
struct Counts(Box<[[u32; 256]; 8]>);

impl Sink for Counts {
    #[inline(always)]
    fn put(&mut self, slot: usize, symbol: u8, _value: i32, _size: u32) {
        let count = &mut self.0[slot & 7][usize::from(symbol)];
        *count = count.saturating_add(1);
    }
}

struct Coder<'a> {
    tables: &'a Tables,
    writer: Writer,
    lacks: bool,
}

impl Sink for Coder<'_> {
    #[inline(always)]
    fn put(&mut self, slot: usize, symbol: u8, value: i32, size: u32) {
        let code = self.tables[slot & 7].as_ref().map_or(0, |table| table.code(symbol));
        if code == 0 {
            self.lacks = true;
        } else {
            put_value(&mut self.writer, code, value, size);
        }
    }
}

/// The replacements that apply changes with new tables in the slots `full`, and `tables` in all others.
pub fn recoded(
    scan: &Scan,
    changes: &[Change],
    runs: &[Run],
    mut tables: Tables,
    full: &[usize],
) -> Result<Vec<Replacement>, Fault> {
    let mut counts = Counts(Box::new([[0; 256]; 8]));
    for segment in 0..scan.segments.len() {
        walk(scan, changes, runs, segment, &mut counts)?;
    }
    for &slot in full {
        tables[slot & 7] = Some(Arc::new(optimal(&counts.0[slot & 7])?));
    }
    let mut replacements = stated(&scan.header, &tables)?;
    for (index, segment) in scan.segments.iter().enumerate() {
        let length = segment.file_end - segment.file_begin;
        let mut coder = Coder { tables: &tables, writer: Writer::with_capacity(length + length / 8 + 64), lacks: false };
        walk(scan, changes, runs, index, &mut coder)?;
        if coder.lacks {
            return Err(Fault::Defect);
        }
        replacements.push(Replacement { from: segment.file_begin, to: segment.file_end, bytes: coder.writer.finish() });
    }
    Ok(replacements)
}

/// All symbols of a segment, with the changes made.
fn walk(scan: &Scan, changes: &[Change], runs: &[Run], segment: usize, sink: &mut impl Sink) -> Result<(), Fault> {
    let header = &scan.header;
    let (first, behind) = scan.mcus_of(segment);
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
            sink.put(component.dc, size as u8, new, size);
            match delta {
                Some(delta) if delta.stated != 0 => {
                    let mut coefficients = [0i16; 64];
                    let (stated, _) = ac_table.read_block(&mut place.bits, &mut coefficients)?;
                    code_block(&coefficients, stated, &delta, |symbol, value, size| {
                        sink.put(component.ac, symbol, value, size);
                    });
                }
                _ => copy_block(ac_table, &mut place.bits, component.ac, sink)?,
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
fn copy_block(table: &Huffman, bits: &mut Bits, slot: usize, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut place = 1u32;
    while place < 64 {
        bits.refill();
        let (symbol, value) = table.symbol_and_value(bits)?;
        sink.put(slot, symbol, value, u32::from(symbol & 15));
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
