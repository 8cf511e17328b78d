//! A rectangle of whole MCUs: what is to be added there, and what it looks like.

use std::borrow::Cow;

use crate::dct::{quantized, two_points, Decoder};
use crate::fault::Fault;
use crate::header::{Block, Header, NATURAL, ZIGZAG};
use crate::scan::Scan;

/// MCUs `left..left + across`, `top..top + down`.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub left: usize,
    pub top: usize,
    pub across: usize,
    pub down: usize,
}

impl Bounds {
    pub fn check(&self, header: &Header) -> Result<(), Fault> {
        let fits = |begin: usize, count: usize, limit: usize| count > 0 && begin < limit && count <= limit - begin;
        if fits(self.left, self.across, header.mcus_across) && fits(self.top, self.down, header.mcus_down) {
            Ok(())
        } else {
            Err(Fault::BadRegion)
        }
    }

    /// Width and height, px, of the part of the picture that the MCUs hold.
    pub fn size(&self, header: &Header) -> (usize, usize) {
        let (mcu_width, mcu_height) = (8 * header.across, 8 * header.down);
        (
            (self.across * mcu_width).min(header.width - self.left * mcu_width),
            (self.down * mcu_height).min(header.height - self.top * mcu_height),
        )
    }
}

/// One channel of interleaved levels, in rows.
#[derive(Clone, Copy)]
pub struct Levels<'a> {
    pub values: &'a [f32],
    pub channels: usize,
    pub channel: usize,
}

/// What one component's samples change by, over a region's blocks.
struct Plane<'a> {
    samples: Cow<'a, [f32]>,
    stride: usize,
    inverse_steps: [[f32; 8]; 8],
}

pub struct Change<'a> {
    pub bounds: Bounds,
    planes: Vec<Plane<'a>>,
}

/// Quantized coefficients to add to one block.
pub struct Delta {
    pub dc: i32,
    /// In zigzag order; the first is not used.
    pub ac: [i16; 64],
    /// Which of them are not zero, one bit a place.
    pub stated: u64,
}

impl<'a> Change<'a> {
    /// `planes`: what each component's samples change by in the part of the picture that the MCUs hold. Beyond the
    /// picture's edge the last samples repeat, as encoders have it.
    #[inline(always)]
    pub fn new(header: &Header, bounds: Bounds, planes: &[Levels<'a>]) -> Result<Self, Fault> {
        bounds.check(header)?;
        if planes.len() != header.components.len() {
            return Err(Fault::BadRegion);
        }
        let (picture_width, picture_height) = bounds.size(header);
        let mut made = Vec::with_capacity(planes.len());
        for (component, levels) in header.components.iter().zip(planes) {
            let width = picture_width.div_ceil(header.across / component.across);
            let height = picture_height.div_ceil(header.down / component.down);
            if levels.channel >= levels.channels || Some(levels.values.len()) != width.checked_mul(height * levels.channels) {
                return Err(Fault::BadRegion);
            }
            let stride = bounds.across * 8 * component.across;
            let rows = bounds.down * 8 * component.down;
            if (levels.channels, width, height) == (1, stride, rows) {
                // Whole blocks, as they are wanted.
                made.push(Plane { samples: Cow::Borrowed(levels.values), stride, inverse_steps: inverse(&component.steps) });
                continue;
            }
            let mut samples = Vec::with_capacity(stride * rows);
            for row in levels.values.chunks_exact(width * levels.channels) {
                match levels.channels {
                    1 => samples.extend_from_slice(row),
                    2 => samples.extend(row.chunks_exact(2).map(|pixel| pixel[levels.channel & 1])),
                    channels => samples.extend(row.iter().skip(levels.channel).step_by(channels)),
                }
                let last = *samples.last().ok_or(Fault::BadRegion)?;
                samples.resize(samples.len() + stride - width, last);
            }
            for _ in height..rows {
                samples.extend_from_within(samples.len() - stride..);
            }
            made.push(Plane { samples: Cow::Owned(samples), stride, inverse_steps: inverse(&component.steps) });
        }
        Ok(Change { bounds, planes: made })
    }

    /// What to add to a block of the MCU at column `x`, row `y` of the region; None where that is nothing.
    #[inline(always)]
    pub fn delta(&self, header: &Header, block: Block, x: usize, y: usize) -> Option<Delta> {
        let component = &header.components[block.component];
        let natural = self.block(block.component, x * component.across + block.x, y * component.down + block.y)?;
        let mut delta = Delta { dc: i32::from(natural[0][0]), ac: [0; 64], stated: 0 };
        let mut others = not_zero(&natural) & !1;
        while others != 0 {
            let at = others.trailing_zeros() as usize;
            others &= others - 1;
            let place = ZIGZAG[at & 63];
            delta.ac[usize::from(place) & 63] = natural[at >> 3 & 7][at & 7];
            delta.stated |= 1 << place;
        }
        (delta.dc != 0 || delta.stated != 0).then_some(delta)
    }

    /// The quantized difference of a component's block at column `x`, row `y`, in natural order; None where it is zero.
    #[inline(always)]
    pub fn block(&self, component: usize, x: usize, y: usize) -> Option<[[i16; 8]; 8]> {
        let plane = &self.planes[component];
        let mut block = [[0.0f32; 8]; 8];
        let mut any = false;
        for (row, out) in block.iter_mut().enumerate() {
            let begin = (y * 8 + row) * plane.stride + x * 8;
            out.copy_from_slice(&plane.samples[begin..begin + 8]);
            any |= out.iter().fold(false, |any, &value| any | (value != 0.0));
        }
        if !any {
            return None;
        }
        let natural = quantized(&block, &plane.inverse_steps);
        natural.iter().flatten().fold(0, |any, &value| any | value).ne(&0).then_some(natural)
    }
}

fn inverse(steps: &[u16; 64]) -> [[f32; 8]; 8] {
    std::array::from_fn(|v| std::array::from_fn(|u| 1.0 / f32::from(steps[8 * v + u])))
}

/// Which numbers of a block are not zero, one bit a natural place.
#[inline(always)]
fn not_zero(natural: &[[i16; 8]; 8]) -> u64 {
    natural.iter().rev().fold(0, |all, row| {
        all << 8 | row.iter().enumerate().fold(0, |bits, (u, &value)| bits | u64::from(value != 0) << u)
    })
}

/// Decodes a region at `points` samples a block side, 1 to 8: the components' planes one after the other, each `across *
/// factor * points` wide. Refused where `out` has another length.
#[inline(always)]
pub fn decode(scan: &mut Scan, bounds: Bounds, points: usize, out: &mut [u8]) -> Result<(), Fault> {
    bounds.check(&scan.header)?;
    let last = (bounds.top + bounds.down - 1) * scan.header.mcus_across + bounds.left + bounds.across;
    // Whole rows follow each other, so that reading them finds its own way.
    let whole_rows = bounds.across == scan.header.mcus_across;
    scan.index(if whole_rows { bounds.top * scan.header.mcus_across + 1 } else { last })?;
    let header = &scan.header;
    let mut begins = Vec::new();
    let mut length = 0;
    for component in &header.components {
        begins.push(length);
        length += bounds.across * component.across * bounds.down * component.down * points * points;
    }
    if !(1..=8).contains(&points) || out.len() != length {
        return Err(Fault::BadRegion);
    }
    let decoder = Decoder::new(points);
    let mut plan = Vec::with_capacity(header.blocks.len());
    for &block in &header.blocks {
        let component = &header.components[block.component];
        plan.push((block, component, header.table(component.dc)?.as_ref(), header.table(component.ac)?.as_ref()));
    }
    // The last place, in zigzag order, that a decoder of so many points looks at.
    let last = NATURAL.iter().rposition(|&at| usize::from(at / 8) < points && usize::from(at % 8) < points).unwrap_or(0);
    let first = bounds.top * header.mcus_across + bounds.left;
    let mut place = scan.place(first)?;
    let mut segment = scan.segment_of(first);
    for y in 0..bounds.down {
        let row = (bounds.top + y) * header.mcus_across + bounds.left;
        if y > 0 && !whole_rows {
            place = scan.place(row)?;
            segment = scan.segment_of(row);
        }
        for x in 0..bounds.across {
            if scan.segment_of(row + x) != segment {
                if place.bits.is_overrun() {
                    return Err(Fault::Damaged);
                }
                segment = scan.segment_of(row + x);
                place = if whole_rows { scan.beginning(segment)? } else { scan.place(row + x)? };
            }
            for &(block, component, dc_table, ac_table) in &plan {
                let prediction = &mut place.dc[block.component];
                *prediction = prediction.wrapping_add(dc_table.difference(&mut place.bits)?);
                let dc = *prediction as f32 * f32::from(component.steps[0]);
                let stride = bounds.across * component.across * points;
                let left = (x * component.across + block.x) * points;
                let top = (y * component.down + block.y) * points;
                let begin = begins[block.component] + top * stride + left;
                if points == 1 {
                    ac_table.skip_block(&mut place.bits)?;
                    *out.get_mut(begin).ok_or(Fault::Defect)? = (dc / 8.0 + 128.5).clamp(0.0, 255.0) as u8;
                    continue;
                }
                if points == 2 {
                    // Those at (0, 1), (1, 0) and (1, 1), in zigzag order.
                    let mut zigzag = [0i16; 64];
                    ac_table.read_start(&mut place.bits, &mut zigzag, 4)?;
                    let of = |k: usize| f32::from(zigzag[k]) * f32::from(component.steps[usize::from(NATURAL[k])]);
                    let [above, below] = two_points([dc, of(1), of(2), of(4)]);
                    out.get_mut(begin..begin + 2).ok_or(Fault::Defect)?.copy_from_slice(&above);
                    out.get_mut(begin + stride..begin + stride + 2).ok_or(Fault::Defect)?.copy_from_slice(&below);
                    continue;
                }
                let mut coefficients = [[0.0f32; 8]; 8];
                let mut zigzag = [0i16; 64];
                let mut stated = ac_table.read_start(&mut place.bits, &mut zigzag, last as u32)?;
                while stated != 0 {
                    let k = stated.trailing_zeros() as usize;
                    stated &= stated - 1;
                    let at = usize::from(NATURAL[k]);
                    coefficients[at / 8][at % 8] = f32::from(zigzag[k]) * f32::from(component.steps[at]);
                }
                coefficients[0][0] = dc;
                decoder.decode(&coefficients, &mut out[begin..], stride);
            }
        }
    }
    if place.bits.is_overrun() {
        return Err(Fault::Damaged);
    }
    Ok(())
}
