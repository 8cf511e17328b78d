//! A JPEG's header: what the one scan needs (T.81 annex B).

use std::sync::Arc;

use crate::fault::Fault;
use crate::huffman::Huffman;

/// Zigzag place -> natural place (T.81 figure A.6).
pub const NATURAL: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35,
    42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62,
    63,
];

/// Natural place -> zigzag place.
pub const ZIGZAG: [u8; 64] = {
    let mut places = [0; 64];
    let mut place = 0;
    while place < 64 {
        places[NATURAL[place] as usize] = place as u8;
        place += 1;
    }
    places
};

/// Most blocks of an MCU (T.81 B.2.3).
const MAX_BLOCKS: usize = 10;

#[derive(Clone)]
pub struct Component {
    identifier: u8,
    /// Sampling factors; 1 and 1 where it is the only component (T.81 A.2.2).
    pub across: usize,
    pub down: usize,
    table: u8,
    /// Quantization steps in natural order.
    pub steps: [u16; 64],
    pub dc: usize,
    pub ac: usize,
}

/// One block of an MCU: its component and its place among that component's blocks.
#[derive(Clone, Copy)]
pub struct Block {
    pub component: usize,
    pub x: usize,
    pub y: usize,
}

/// Where a Huffman table is defined: the segment's length field, the table's counts, the end of its symbols.
#[derive(Clone, Copy, Default)]
pub struct Definition {
    pub length_at: usize,
    pub segment_length: usize,
    pub counts_at: usize,
    pub end: usize,
}

pub struct Header {
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
    pub blocks: Vec<Block>,
    /// Largest sampling factors.
    pub across: usize,
    pub down: usize,
    pub mcus_across: usize,
    pub mcus_down: usize,
    /// MCUs between restart markers, 0 for none.
    pub restart_interval: usize,
    /// By destination 0..4: DC tables, then AC tables.
    pub tables: [Option<Arc<Huffman>>; 8],
    pub definitions: [Definition; 8],
    /// Offset of the entropy-coded data.
    pub scan: usize,
}

impl Header {
    pub fn mcus(&self) -> usize {
        self.mcus_across * self.mcus_down
    }

    pub fn table(&self, slot: usize) -> Result<&Arc<Huffman>, Fault> {
        self.tables.get(slot).and_then(Option::as_ref).ok_or(Fault::Damaged)
    }

    /// Reads up to the scan's first byte.
    pub fn read(data: &[u8]) -> Result<Self, Fault> {
        let mut header = Header {
            width: 0,
            height: 0,
            components: Vec::new(),
            blocks: Vec::new(),
            across: 1,
            down: 1,
            mcus_across: 0,
            mcus_down: 0,
            restart_interval: 0,
            tables: Default::default(),
            definitions: Default::default(),
            scan: 0,
        };
        let mut quantization = [None; 16];
        let mut at = 2;
        loop {
            // Fill bytes may stand before any marker.
            while data.get(at) == Some(&0xFF) && data.get(at + 1) == Some(&0xFF) {
                at += 1;
            }
            if data.get(at) != Some(&0xFF) {
                return Err(Fault::Damaged);
            }
            let marker = byte(data, at + 1)?;
            let end = at + 2 + word(data, at + 2)?;
            let payload = data.get(at + 4..end).ok_or(Fault::Damaged)?;
            match marker {
                0xC0 | 0xC1 if header.components.is_empty() => header.read_frame(payload)?,
                0xC4 => header.read_tables(data, at + 2, end)?,
                0xC0..=0xCF => return Err(Fault::Unsupported),
                0xDB => read_quantization(payload, &mut quantization)?,
                0xDD => header.restart_interval = word(payload, 0)?,
                0xDA => {
                    header.read_scan(payload, &quantization)?;
                    header.scan = end;
                    return Ok(header);
                }
                0xE0..=0xEF | 0xFE => {}
                _ => return Err(Fault::Unsupported),
            }
            at = end;
        }
    }

    fn read_frame(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let (precision, count) = (byte(payload, 0)?, usize::from(byte(payload, 5)?));
        (self.height, self.width) = (word(payload, 1)?, word(payload, 3)?);
        if precision != 8 || !matches!(count, 1 | 3) || self.width == 0 || self.height == 0 {
            return Err(Fault::Unsupported);
        }
        for index in 0..count {
            let stated = payload.get(6 + 3 * index..9 + 3 * index).ok_or(Fault::Damaged)?;
            let (across, down) = (usize::from(stated[1] >> 4), usize::from(stated[1] & 15));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(Fault::Damaged);
            }
            self.components.push(Component {
                identifier: stated[0],
                across: if count == 1 { 1 } else { across },
                down: if count == 1 { 1 } else { down },
                table: stated[2],
                steps: [1; 64],
                dc: 0,
                ac: 4,
            });
        }
        self.across = self.components.iter().map(|component| component.across).max().unwrap_or(1);
        self.down = self.components.iter().map(|component| component.down).max().unwrap_or(1);
        self.mcus_across = self.width.div_ceil(8 * self.across);
        self.mcus_down = self.height.div_ceil(8 * self.down);
        for (index, component) in self.components.iter().enumerate() {
            if self.across % component.across != 0 || self.down % component.down != 0 {
                return Err(Fault::Unsupported);
            }
            for y in 0..component.down {
                for x in 0..component.across {
                    self.blocks.push(Block { component: index, x, y });
                }
            }
        }
        if self.blocks.len() > MAX_BLOCKS {
            return Err(Fault::Damaged);
        }
        Ok(())
    }

    fn read_tables(&mut self, data: &[u8], length_at: usize, end: usize) -> Result<(), Fault> {
        let mut at = length_at + 2;
        while at < end {
            let stated = byte(data, at)?;
            let (class, destination) = (usize::from(stated >> 4), usize::from(stated & 15));
            if class > 1 || destination > 3 {
                return Err(Fault::Damaged);
            }
            let counts: [u8; 16] = *data.get(at + 1..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Damaged)?;
            let symbols_end = at + 17 + counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            if symbols_end > end || symbols_end - at - 17 > 256 {
                return Err(Fault::Damaged);
            }
            let symbols = data.get(at + 17..symbols_end).ok_or(Fault::Damaged)?;
            let slot = 4 * class + destination;
            self.tables[slot] = Some(Huffman::shared(counts, symbols)?);
            self.definitions[slot] = Definition { length_at, segment_length: end - length_at, counts_at: at + 1, end: symbols_end };
            at = symbols_end;
        }
        Ok(())
    }

    fn read_scan(&mut self, payload: &[u8], quantization: &[Option<[u16; 64]>; 16]) -> Result<(), Fault> {
        let count = usize::from(byte(payload, 0)?);
        if count != self.components.len() || count == 0 {
            return Err(Fault::Unsupported);
        }
        for (index, component) in self.components.iter_mut().enumerate() {
            if byte(payload, 1 + 2 * index)? != component.identifier {
                return Err(Fault::Unsupported);
            }
            let tables = byte(payload, 2 + 2 * index)?;
            (component.dc, component.ac) = (usize::from(tables >> 4), 4 + usize::from(tables & 15));
            let steps = quantization.get(usize::from(component.table)).ok_or(Fault::Damaged)?;
            component.steps = steps.ok_or(Fault::Damaged)?;
            for slot in [component.dc, component.ac] {
                self.tables.get(slot).and_then(Option::as_ref).ok_or(Fault::Damaged)?;
            }
            if component.dc > 3 {
                return Err(Fault::Damaged);
            }
        }
        // What a sequential scan has to state (T.81 table B.3).
        if payload.get(1 + 2 * count..) != Some(&[0, 63, 0]) {
            return Err(Fault::Unsupported);
        }
        Ok(())
    }
}

fn read_quantization(payload: &[u8], tables: &mut [Option<[u16; 64]>; 16]) -> Result<(), Fault> {
    let mut at = 0;
    while at < payload.len() {
        let stated = payload[at];
        let wide = usize::from(stated >> 4 != 0);
        let mut steps = [0; 64];
        for (place, &natural) in NATURAL.iter().enumerate() {
            let value = if wide == 1 { word(payload, at + 1 + 2 * place)? } else { usize::from(byte(payload, at + 1 + place)?) };
            if value == 0 {
                return Err(Fault::Damaged);
            }
            steps[usize::from(natural)] = value as u16;
        }
        tables[usize::from(stated & 15)] = Some(steps);
        at += 1 + 64 * (1 + wide);
    }
    Ok(())
}

fn byte(data: &[u8], at: usize) -> Result<u8, Fault> {
    data.get(at).copied().ok_or(Fault::Damaged)
}

fn word(data: &[u8], at: usize) -> Result<usize, Fault> {
    Ok(usize::from(byte(data, at)?) << 8 | usize::from(byte(data, at + 1)?))
}
