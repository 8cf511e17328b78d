//! The one scan of a JPEG: its data without stuffed bytes, and an index of where MCUs begin, made as far as it is needed.

use crate::bits::Bits;
use crate::fault::Fault;
use crate::header::Header;

/// MCUs between two entries of the index.
const EVERY: usize = 16;

/// The data between two restart markers: where it lies in the file and in `clean`.
#[derive(Clone, Copy)]
pub struct Segment {
    pub file_begin: usize,
    pub file_end: usize,
    pub begin: usize,
    pub end: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    bit: usize,
    dc: [i32; 3],
}

/// Where an MCU begins: bit position in its segment, and the DC predictions there.
pub struct Place<'a> {
    pub bits: Bits<'a>,
    pub dc: [i32; 3],
}

pub struct Scan {
    pub header: Header,
    pub segments: Vec<Segment>,
    /// Offset of the marker behind the scan.
    pub end: usize,
    clean: Vec<u8>,
    entries: Vec<Entry>,
    /// MCUs that were parsed, and where the next one begins.
    parsed: usize,
    next: Entry,
    /// DC coefficient of every block of the first component that was parsed, row by row, where asked for.
    thumbnail: Option<Vec<i16>>,
}

impl Scan {
    pub fn open(data: &[u8]) -> Result<Self, Fault> {
        let header = Header::read(data)?;
        let mut scan = Scan {
            segments: Vec::new(),
            end: 0,
            clean: Vec::with_capacity(data.len() - header.scan.min(data.len())),
            entries: Vec::with_capacity(header.mcus() / EVERY + 1),
            parsed: 0,
            next: Entry { bit: 0, dc: [0; 3] },
            thumbnail: None,
            header,
        };
        scan.end = scan.unstuff(data)?;
        let expected = match scan.header.restart_interval {
            0 => 1,
            interval => scan.header.mcus().div_ceil(interval),
        };
        // Another scan behind this one, or a picture that goes on elsewhere, is not ours.
        if scan.segments.len() != expected || data.get(scan.end..scan.end + 2) != Some(&[0xFF, 0xD9]) {
            return Err(Fault::Damaged);
        }
        Ok(scan)
    }

    /// Fills `clean` and `segments`; returns the offset of the marker that ends the scan.
    fn unstuff(&mut self, data: &[u8]) -> Result<usize, Fault> {
        let (mut at, mut begin) = (self.header.scan, self.header.scan);
        let mut clean_begin = 0;
        loop {
            while let Some(chunk) = data.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
                if chunk.iter().fold(false, |found, &byte| found | (byte == 0xFF)) {
                    break;
                }
                self.clean.extend_from_slice(chunk);
                at += 32;
            }
            let rest = data.get(at..).ok_or(Fault::Damaged)?;
            let plain = rest.iter().position(|&byte| byte == 0xFF).ok_or(Fault::Damaged)?;
            self.clean.extend_from_slice(&rest[..plain]);
            at += plain;
            match *data.get(at + 1).ok_or(Fault::Damaged)? {
                0 => {
                    self.clean.push(0xFF);
                    at += 2;
                }
                marker => {
                    self.segments.push(Segment { file_begin: begin, file_end: at, begin: clean_begin, end: self.clean.len() });
                    if !(0xD0..=0xD7).contains(&marker) {
                        return Ok(at);
                    }
                    if usize::from(marker - 0xD0) != (self.segments.len() - 1) % 8 {
                        return Err(Fault::Damaged);
                    }
                    at += 2;
                    (begin, clean_begin) = (at, self.clean.len());
                }
            }
        }
    }

    /// The segment that an MCU lies in.
    pub fn segment_of(&self, mcu: usize) -> usize {
        match self.header.restart_interval {
            0 => 0,
            interval => mcu / interval,
        }
    }

    /// The first MCU of a segment and the first behind it.
    pub fn mcus_of(&self, segment: usize) -> (usize, usize) {
        match self.header.restart_interval {
            0 => (0, self.header.mcus()),
            interval => (segment * interval, ((segment + 1) * interval).min(self.header.mcus())),
        }
    }

    pub fn data_of(&self, segment: usize) -> Result<&[u8], Fault> {
        let segment = self.segments.get(segment).ok_or(Fault::Damaged)?;
        self.clean.get(segment.begin..segment.end).ok_or(Fault::Defect)
    }

    /// Offset in the file of a segment's byte.
    pub fn file_offset(&self, segment: usize, byte: usize) -> Result<usize, Fault> {
        let before = self.data_of(segment)?.get(..byte).ok_or(Fault::Defect)?;
        let stuffed: usize = before.chunks(255).map(|part| usize::from(count_ff(part))).sum();
        Ok(self.segments[segment].file_begin + byte + stuffed)
    }

    /// Parses MCUs up to `mcu`, exclusive, so that `place` finds all of them.
    #[inline(always)]
    pub fn index(&mut self, mcu: usize) -> Result<(), Fault> {
        let limit = mcu.min(self.header.mcus());
        if limit <= self.parsed {
            return Ok(());
        }
        let mut entries = std::mem::take(&mut self.entries);
        let mut thumbnail = self.thumbnail.take();
        let result = match &mut thumbnail {
            None => self.parse::<false>(limit, &mut entries, &mut []),
            Some(pixels) => self.parse::<true>(limit, &mut entries, pixels),
        };
        (self.entries, self.thumbnail) = (entries, thumbnail);
        (self.parsed, self.next) = result?;
        Ok(())
    }

    /// The DC coefficient of each of the first component's blocks, `length` of them, row by row.
    pub fn thumbnail(&mut self, length: usize) -> Result<&[i16], Fault> {
        let first = &self.header.components[0];
        if length != self.header.mcus() * first.across * first.down {
            return Err(Fault::BadRegion);
        }
        if self.thumbnail.is_none() {
            (self.parsed, self.next) = (0, Entry { bit: 0, dc: [0; 3] });
            self.entries.clear();
            self.thumbnail = Some(vec![0; length]);
        }
        self.index(self.header.mcus())?;
        self.thumbnail.as_deref().ok_or(Fault::Defect)
    }

    #[inline(always)]
    fn parse<const THUMBNAIL: bool>(
        &self,
        limit: usize,
        entries: &mut Vec<Entry>,
        thumbnail: &mut [i16],
    ) -> Result<(usize, Entry), Fault> {
        let header = &self.header;
        let mut plan = Vec::with_capacity(header.blocks.len());
        for block in &header.blocks {
            let component = &header.components[block.component];
            plan.push((block, header.table(component.dc)?.as_ref(), header.table(component.ac)?.as_ref()));
        }
        let stride = header.mcus_across * header.components[0].across;
        let (mut mcu, mut next) = (self.parsed, self.next);
        while mcu < limit {
            let segment = self.segment_of(mcu);
            let (_, behind) = self.mcus_of(segment);
            let data = self.data_of(segment)?;
            let mut bits = Bits::new(data, next.bit);
            let mut dc = next.dc;
            let stop = behind.min(limit);
            while mcu < stop {
                if mcu % EVERY == 0 {
                    entries.push(Entry { bit: bits.position(), dc });
                    if bits.is_overrun() {
                        return Err(Fault::Damaged);
                    }
                }
                for &(block, dc_table, ac_table) in &plan {
                    let prediction = &mut dc[block.component];
                    *prediction = prediction.wrapping_add(dc_table.difference(&mut bits)?);
                    if THUMBNAIL && block.component == 0 {
                        let first = &header.components[0];
                        let (row, column) = (mcu / header.mcus_across, mcu % header.mcus_across);
                        let at = (row * first.down + block.y) * stride + column * first.across + block.x;
                        if let Some(pixel) = thumbnail.get_mut(at) {
                            *pixel = *prediction as i16;
                        }
                    }
                    ac_table.skip_block(&mut bits)?;
                }
                mcu += 1;
            }
            if bits.is_overrun() {
                return Err(Fault::Damaged);
            }
            next = if mcu == behind { Entry { bit: 0, dc: [0; 3] } } else { Entry { bit: bits.position(), dc } };
        }
        Ok((mcu, next))
    }

    /// A reader that stands at a segment's first MCU.
    pub fn beginning(&self, segment: usize) -> Result<Place<'_>, Fault> {
        Ok(Place { bits: Bits::new(self.data_of(segment)?, 0), dc: [0; 3] })
    }

    /// A reader that stands at an MCU, which must have been indexed.
    pub fn place(&self, mcu: usize) -> Result<Place<'_>, Fault> {
        let segment = self.segment_of(mcu);
        let (first, _) = self.mcus_of(segment);
        let nearest = mcu - mcu % EVERY;
        let (from, entry) = if nearest >= first {
            (nearest, *self.entries.get(mcu / EVERY).ok_or(Fault::Defect)?)
        } else {
            (first, Entry { bit: 0, dc: [0; 3] })
        };
        let mut place = Place { bits: Bits::new(self.data_of(segment)?, entry.bit), dc: entry.dc };
        for _ in from..mcu {
            self.skip_mcu(&mut place)?;
        }
        Ok(place)
    }

    pub fn skip_mcu(&self, place: &mut Place) -> Result<(), Fault> {
        for block in &self.header.blocks {
            let component = &self.header.components[block.component];
            let prediction = &mut place.dc[block.component];
            *prediction = prediction.wrapping_add(self.header.table(component.dc)?.difference(&mut place.bits)?);
            self.header.table(component.ac)?.skip_block(&mut place.bits)?;
        }
        Ok(())
    }
}

fn count_ff(part: &[u8]) -> u8 {
    part.iter().fold(0, |count, &byte| count + u8::from(byte == 0xFF))
}
