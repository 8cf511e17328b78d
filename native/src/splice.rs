//! Adding to the coefficients of some MCUs and leaving every other bit of the scan alone.
//!
//! A block's quantized coefficients are whole numbers, so adding a picture adds its own quantized coefficients, whatever the
//! block shows. Only the changed blocks get new codes, and the block behind them a new DC difference. The new data is longer
//! or shorter by some bits; zero-run codes that say nothing (they stand before an end of block) are put in until the
//! difference is a whole number of bytes, so that all the rest of the file stays as it is, byte for byte.

use std::sync::Arc;

use crate::bits::Writer;
use crate::coding::{bits_of, code_block, code_or_lack, dc_shift, put_value, stated, Replacement, Run, Tables, DC_BITS};
use crate::fault::Fault;
use crate::header::Header;
use crate::recode;
use crate::region::{Bounds, Change, Delta, Levels};
use crate::scan::{Place, Scan};

/// MCUs up to the end of a segment that are parsed rather than padded for.
const NEAR_END: usize = 64;

/// The replacements, in file order, that add levels to regions, which must not overlap; see `Change::new`.
#[inline(always)]
pub fn add(scan: &mut Scan, regions: &[(Bounds, Vec<Levels>)]) -> Result<Vec<Replacement>, Fault> {
    let mut changes = Vec::with_capacity(regions.len());
    for (bounds, planes) in regions {
        changes.push(Change::new(&scan.header, *bounds, planes)?);
    }
    splice(scan, &changes)
}

#[inline(always)]
fn splice(scan: &mut Scan, changes: &[Change]) -> Result<Vec<Replacement>, Fault> {
    let runs = runs(scan, changes)?;
    let Some(last) = runs.last() else { return Ok(Vec::new()) };
    scan.index(last.end)?;
    let mut tables = scan.header.tables.clone();
    let mut missing = Vec::new();
    let replacements = rewrite(scan, changes, &runs, &tables, &mut missing)?;
    if missing.is_empty() {
        return Ok(replacements);
    }
    let full = extend(&scan.header, &mut tables, &missing)?;
    if !full.is_empty() {
        return recode::recoded(scan, changes, &runs, tables, &full, &missing);
    }
    let mut all = stated(&scan.header, &tables)?;
    let mut still_missing = Vec::new();
    all.extend(rewrite(scan, changes, &runs, &tables, &mut still_missing)?);
    if still_missing.is_empty() {
        Ok(all)
    } else {
        Err(Fault::Defect)
    }
}

/// The changes' rows, in the order of the scan, cut where a restart lies within.
fn runs(scan: &Scan, changes: &[Change]) -> Result<Vec<Run>, Fault> {
    let across = scan.header.mcus_across;
    let mut runs = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let bounds = change.bounds;
        for row in 0..bounds.down {
            let first = (bounds.top + row) * across + bounds.left;
            let (mut begin, end) = (first, first + bounds.across);
            while begin < end {
                let (_, behind) = scan.mcus_of(scan.segment_of(begin));
                let stop = end.min(behind);
                runs.push(Run { begin, end: stop, change: index, row, column: begin - first });
                begin = stop;
            }
        }
    }
    runs.sort_by_key(|run| run.begin);
    if runs.windows(2).any(|pair| pair[0].end > pair[1].begin) {
        return Err(Fault::BadRegion);
    }
    Ok(runs)
}

#[inline(always)]
fn rewrite(
    scan: &Scan,
    changes: &[Change],
    runs: &[Run],
    tables: &Tables,
    missing: &mut Vec<(usize, u8)>,
) -> Result<Vec<Replacement>, Fault> {
    let mut replacements = Vec::new();
    for runs in runs.chunk_by(|one, other| scan.segment_of(one.begin) == scan.segment_of(other.begin)) {
        let segment = scan.segment_of(runs[0].begin);
        let (_, behind) = scan.mcus_of(segment);
        let mut rewriter = Rewriter {
            scan,
            tables,
            missing,
            segment,
            data: scan.data_of(segment)?,
            place: scan.place(runs[0].begin)?,
            mcu: runs[0].begin,
            behind,
            shift: [0; 3],
            written: None,
        };
        for run in runs {
            rewriter.go_to(run.begin)?;
            for index in 0..run.end - run.begin {
                rewriter.mcu(Some((&changes[run.change], run.column + index, run.row)))?;
            }
        }
        rewriter.settle()?;
        replacements.extend(rewriter.finish()?);
    }
    Ok(replacements)
}

/// What was written of a segment: from the byte `begin` of its data, and up to the bit `copied`.
struct Written {
    begin: usize,
    copied: usize,
    writer: Writer,
}

struct Rewriter<'a, 'm> {
    scan: &'a Scan,
    tables: &'a Tables,
    missing: &'m mut Vec<(usize, u8)>,
    segment: usize,
    data: &'a [u8],
    /// Where the MCU `mcu` begins; `behind` is the first one of the next segment.
    place: Place<'a>,
    mcu: usize,
    behind: usize,
    /// By how much the last DC coefficient of each component was changed.
    shift: [i32; 3],
    written: Option<Written>,
}

impl Rewriter<'_, '_> {
    fn header(&self) -> &Header {
        &self.scan.header
    }

    /// Goes on to an MCU; what lies between is copied later.
    fn go_to(&mut self, mcu: usize) -> Result<(), Fault> {
        if self.mcu < mcu {
            self.settle_once()?;
        }
        if mcu - self.mcu > 16 {
            self.place = self.scan.place(mcu)?;
        } else {
            for _ in self.mcu..mcu {
                self.scan.skip_mcu(&mut self.place)?;
            }
        }
        self.mcu = mcu;
        Ok(())
    }

    /// Gives the blocks behind a change their new DC differences.
    fn settle(&mut self) -> Result<(), Fault> {
        if self.mcu < self.behind {
            self.settle_once()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn settle_once(&mut self) -> Result<(), Fault> {
        // Every MCU holds a block of every component, so one is enough.
        if self.shift != [0; 3] {
            self.mcu(None)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn mcu(&mut self, change: Option<(&Change, usize, usize)>) -> Result<(), Fault> {
        let scan = self.scan;
        for &block in &scan.header.blocks {
            let component = &scan.header.components[block.component];
            let (dc_table, ac_table) = (scan.header.table(component.dc)?, scan.header.table(component.ac)?);
            let delta = change.and_then(|(change, x, y)| change.delta(&scan.header, block, x, y));
            let before = self.place.bits.position();
            let difference = dc_table.difference(&mut self.place.bits)?;
            let old = self.place.dc[block.component].wrapping_add(difference);
            self.place.dc[block.component] = old;
            let shift = delta.as_ref().map_or(0, |delta| dc_shift(old, delta.dc));
            let new = difference.wrapping_add(shift).wrapping_sub(self.shift[block.component]);
            self.shift[block.component] = shift;
            if new != difference {
                let after = self.place.bits.position();
                self.put_difference(component.dc, new, before)?;
                self.copied(after);
            }
            match delta {
                Some(delta) if delta.stated != 0 => {
                    let before = self.place.bits.position();
                    let mut block = [0i16; 64];
                    let (stated, _) = ac_table.read_block(&mut self.place.bits, &mut block)?;
                    let after = self.place.bits.position();
                    self.put_block(component.ac, &block, stated, &delta, before)?;
                    self.copied(after);
                }
                _ => ac_table.skip_block(&mut self.place.bits)?,
            }
        }
        self.mcu += 1;
        if self.place.bits.is_overrun() {
            return Err(Fault::Damaged);
        }
        Ok(())
    }

    /// The writer, after all bits up to `bit` were copied to it.
    #[inline(always)]
    fn writer(&mut self, bit: usize) -> &mut Writer {
        let data = self.data;
        let written = self.written.get_or_insert_with(|| Written {
            begin: bit / 8,
            copied: bit / 8 * 8,
            writer: Writer::with_capacity(data.len() - (bit / 8).min(data.len()) + 4096),
        });
        if bit > written.copied {
            written.writer.copy(data, written.copied, bit);
            written.copied = bit;
        }
        &mut written.writer
    }

    #[inline(always)]
    fn copied(&mut self, bit: usize) {
        if let Some(written) = &mut self.written {
            written.copied = bit;
        }
    }

    fn put_difference(&mut self, slot: usize, difference: i32, before: usize) -> Result<(), Fault> {
        let size = bits_of(difference);
        if size > DC_BITS {
            return Err(Fault::NoCode);
        }
        self.writer(before);
        let (Some(written), Some(table)) = (&mut self.written, &self.tables[slot & 7]) else { return Err(Fault::Defect) };
        put_value(&mut written.writer, code_or_lack(table, slot, size as u8, self.missing), difference, size);
        Ok(())
    }

    #[inline(always)]
    fn put_block(
        &mut self,
        slot: usize,
        old: &[i16; 64],
        stated: u64,
        delta: &Delta,
        before: usize,
    ) -> Result<(), Fault> {
        self.writer(before);
        let (Some(written), Some(table)) = (&mut self.written, &self.tables[slot & 7]) else { return Err(Fault::Defect) };
        let (writer, missing) = (&mut written.writer, &mut *self.missing);
        code_block(old, stated, delta, |symbol, value, size| {
            put_value(writer, code_or_lack(table, slot, symbol, missing), value, size);
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Option<Replacement>, Fault> {
        let Some(written) = &self.written else { return Ok(None) };
        let growth = written.writer.position() as i64 - (written.copied as i64 - written.begin as i64 * 8);
        let lacking = (-growth).rem_euclid(8) as u32;
        if self.behind - self.mcu > NEAR_END && self.pad(lacking)? {
            let Some(mut written) = self.written else { return Err(Fault::Defect) };
            let end = written.copied.div_ceil(8);
            written.writer.copy(self.data, written.copied, end * 8);
            return Ok(Some(Replacement {
                from: self.scan.file_offset(self.segment, written.begin)?,
                to: self.scan.file_offset(self.segment, end)?,
                bytes: written.writer.finish(),
            }));
        }
        while self.mcu < self.behind {
            self.scan.skip_mcu(&mut self.place)?;
            self.mcu += 1;
            if self.place.bits.is_overrun() {
                return Err(Fault::Damaged);
            }
        }
        let end = self.place.bits.position();
        self.writer(end);
        let Some(written) = self.written else { return Err(Fault::Defect) };
        Ok(Some(Replacement {
            from: self.scan.file_offset(self.segment, written.begin)?,
            to: self.scan.segments[self.segment].file_end,
            bytes: written.writer.finish(),
        }))
    }

    /// Puts zero runs before the next blocks' ends until `lacking` bits, modulo 8, were added. False where that cannot be.
    fn pad(&mut self, lacking: u32) -> Result<bool, Fault> {
        let Some(mut counts) = padding(self.header(), lacking) else { return Ok(false) };
        let scan = self.scan;
        while counts.iter().any(|&count| count > 0) {
            if self.mcu == self.behind {
                return Ok(false);
            }
            for block in &scan.header.blocks {
                let component = &scan.header.components[block.component];
                let table = scan.header.table(component.ac)?;
                self.place.dc[block.component] = self.place.dc[block.component]
                    .wrapping_add(scan.header.table(component.dc)?.difference(&mut self.place.bits)?);
                let (_, end) = table.read_block(&mut self.place.bits, &mut [0; 64])?;
                let Some((before, place)) = end else { continue };
                let count = counts[component.ac & 7].min((63 - place) / 16);
                if count == 0 {
                    continue;
                }
                counts[component.ac & 7] -= count;
                let Some((code, length)) = table.zero_run() else { return Err(Fault::Defect) };
                let writer = self.writer(before);
                for _ in 0..count {
                    writer.put(code, length);
                }
            }
            self.mcu += 1;
            if self.place.bits.is_overrun() {
                return Err(Fault::Damaged);
            }
        }
        Ok(true)
    }
}

/// How many zero runs of each AC table add up to `lacking` bits modulo 8: the fewest bits; None where none do.
fn padding(header: &Header, lacking: u32) -> Option<[u32; 8]> {
    let length = |slot: usize| header.tables[slot & 7].as_ref().and_then(|table| table.zero_run()).map(|(_, length)| length);
    let first = header.components.first()?.ac;
    let second = header.components.last()?.ac;
    let mut best: Option<(u32, [u32; 8])> = None;
    for one in 0..8 {
        for other in 0..8 {
            if (one > 0 && length(first).is_none()) || (other > 0 && (second == first || length(second).is_none())) {
                continue;
            }
            let bits = one * length(first).unwrap_or(0) + other * length(second).unwrap_or(0);
            if bits % 8 == lacking && best.is_none_or(|(fewest, _)| bits < fewest) {
                let mut counts = [0; 8];
                counts[first & 7] = one;
                counts[second & 7] += other;
                best = Some((bits, counts));
            }
        }
    }
    best.map(|(_, counts)| counts)
}

/// Adds codes for what is missing; the slots of the tables that have no room for them.
fn extend(header: &Header, tables: &mut Tables, missing: &[(usize, u8)]) -> Result<Vec<usize>, Fault> {
    let mut full = Vec::new();
    for slot in 0..8 {
        let symbols: Vec<u8> = missing.iter().filter(|&&(place, _)| place == slot).map(|&(_, symbol)| symbol).collect();
        if symbols.is_empty() {
            continue;
        }
        match header.table(slot)?.extended(&symbols) {
            Some(extended) => tables[slot] = Some(Arc::new(extended)),
            None => full.push(slot),
        }
    }
    Ok(full)
}
