//! The discrete cosine transform of 8x8 blocks (T.81 A.3.3) in float32, both ways.

use std::f32::consts::{FRAC_1_SQRT_2, PI};
use std::sync::OnceLock;

/// Adding and subtracting it rounds a float of less than 2^22 to the nearest whole number, ties to even.
const ROUNDING: f32 = 12_582_912.0;

/// Rows of the orthonormal transform of N points: `[u][x]`, zero where u or x is N or more.
fn cosines(points: usize) -> [[f32; 8]; 8] {
    let mut rows = [[0.0; 8]; 8];
    for (u, row) in rows.iter_mut().enumerate().take(points) {
        for (x, value) in row.iter_mut().enumerate().take(points) {
            let angle = PI as f64 * ((2 * x + 1) * u) as f64 / (2 * points) as f64;
            let scale = (2.0 / points as f64).sqrt() * if u == 0 { FRAC_1_SQRT_2 as f64 } else { 1.0 };
            *value = (scale * angle.cos()) as f32;
        }
    }
    rows
}

/// The transform of eight points, and its transpose.
struct Eight {
    rows: [[f32; 8]; 8],
    columns: [[f32; 8]; 8],
}

fn eight() -> &'static Eight {
    static EIGHT: OnceLock<Eight> = OnceLock::new();
    EIGHT.get_or_init(|| {
        let rows = cosines(8);
        let columns = std::array::from_fn(|x| std::array::from_fn(|u| rows[u][x]));
        Eight { rows, columns }
    })
}

/// The quantized coefficients of a block of sample differences, both in natural order.
#[inline(always)]
pub fn quantized(block: &[[f32; 8]; 8], inverse_steps: &[[f32; 8]; 8]) -> [[i16; 8]; 8] {
    let Eight { rows, columns } = eight();
    // Down the columns, eight at once: sums and differences of mirrored rows halve the products.
    let (mut sums, mut differences) = ([[0.0; 8]; 4], [[0.0; 8]; 4]);
    for y in 0..4 {
        for lane in 0..8 {
            sums[y][lane] = block[y][lane] + block[7 - y][lane];
            differences[y][lane] = block[y][lane] - block[7 - y][lane];
        }
    }
    let mut out = [[0; 8]; 8];
    for v in 0..8 {
        let half = if v % 2 == 0 { &sums } else { &differences };
        let mut down = [0.0; 8];
        for lane in 0..8 {
            down[lane] = rows[v][0] * half[0][lane]
                + rows[v][1] * half[1][lane]
                + rows[v][2] * half[2][lane]
                + rows[v][3] * half[3][lane];
        }
        // Along the row, its eight coefficients at once: no transposing.
        let mut across = [0.0; 8];
        for x in 0..8 {
            for u in 0..8 {
                across[u] += down[x] * columns[x][u];
            }
        }
        for u in 0..8 {
            let rounded = across[u] * inverse_steps[v][u] + ROUNDING;
            out[v][u] = (rounded.to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32) as i16;
        }
    }
    out
}

/// Decodes blocks at N = 1 to 8 samples a side: the low N x N coefficients by the transform of N points.
pub struct Decoder {
    points: usize,
    cosine: [[f32; 8]; 8],
}

impl Decoder {
    pub fn new(points: usize) -> Self {
        Decoder { points, cosine: cosines(points) }
    }

    /// `coefficients` are dequantized, in natural order. Writes N rows of N samples 0..=255 to `out`, `stride` apart.
    #[inline(always)]
    pub fn decode(&self, coefficients: &[[f32; 8]; 8], out: &mut [u8], stride: usize) {
        // The compiler knows all lengths of the sizes that are asked for most.
        match self.points {
            8 => self.decode_points::<8>(8, coefficients, out, stride),
            6 => self.decode_points::<6>(6, coefficients, out, stride),
            5 => self.decode_points::<5>(5, coefficients, out, stride),
            4 => self.decode_points::<4>(4, coefficients, out, stride),
            3 => self.decode_points::<3>(3, coefficients, out, stride),
            points => self.decode_points::<0>(points, coefficients, out, stride),
        }
    }

    /// `KNOWN` is `points` or 0.
    #[inline(always)]
    fn decode_points<const KNOWN: usize>(&self, points: usize, coefficients: &[[f32; 8]; 8], out: &mut [u8], stride: usize) {
        let n = if KNOWN == 0 { points } else { KNOWN };
        let mut half = [[0.0f32; 8]; 8];
        for (v, row) in half.iter_mut().enumerate().take(n) {
            for u in 0..n {
                for x in 0..8 {
                    row[x] += coefficients[v][u] * self.cosine[u][x];
                }
            }
        }
        let scale = n as f32 / 8.0;
        for y in 0..n {
            let mut row = [0.0f32; 8];
            for v in 0..n {
                for x in 0..8 {
                    row[x] += self.cosine[v][y] * half[v][x];
                }
            }
            let samples = row.map(|value| (value * scale + 128.5).clamp(0.0, 255.0) as u8);
            if let Some(out) = out.get_mut(y * stride..y * stride + n) {
                for (out, sample) in out.iter_mut().zip(samples) {
                    *out = sample;
                }
            }
        }
    }
}

/// Two rows of two samples, of a block's dequantized coefficients at (0, 0), across, down and both: the transform of two
/// points is sums and differences.
#[inline(always)]
pub fn two_points([dc, across, down, both]: [f32; 4]) -> [[u8; 2]; 2] {
    let sample = |value: f32| (value * 0.125 + 128.5).clamp(0.0, 255.0) as u8;
    let (left, right) = (dc + across, dc - across);
    let (below_left, below_right) = (down + both, down - both);
    [[sample(left + below_left), sample(right + below_right)], [sample(left - below_left), sample(right - below_right)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_block_has_only_a_dc_coefficient_and_comes_back() {
        let out = quantized(&[[10.0; 8]; 8], &[[1.0; 8]; 8]);
        assert_eq!(out[0][0], 80);
        assert!(out.iter().flatten().skip(1).all(|&value| value == 0));
        for points in 1..=8 {
            let mut coefficients = [[0.0; 8]; 8];
            coefficients[0][0] = 80.0;
            let mut samples = [0; 64];
            Decoder::new(points).decode(&coefficients, &mut samples, 8);
            for y in 0..points {
                assert!(samples[y * 8..y * 8 + points].iter().all(|&sample| sample == 138));
            }
        }
    }

    #[test]
    fn two_points_are_what_the_decoder_of_two_gives() {
        for (dc, across, down, both) in [(80.0, 0.0, 0.0, 0.0), (-40.0, 90.0, 33.0, -71.0), (900.0, 500.0, -800.0, 64.0)] {
            let mut coefficients = [[0.0; 8]; 8];
            coefficients[0][..2].copy_from_slice(&[dc, across]);
            coefficients[1][..2].copy_from_slice(&[down, both]);
            let mut samples = [0u8; 4];
            Decoder::new(2).decode(&coefficients, &mut samples, 2);
            for (one, other) in samples.iter().zip(two_points([dc, across, down, both]).as_flattened()) {
                assert!(one.abs_diff(*other) <= 1);
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest() {
        for (level, expected) in [(0.0624, 0), (0.0626, 1), (-0.0626, -1), (0.19, 2), (-12.0, -96)] {
            assert_eq!(quantized(&[[level; 8]; 8], &[[1.0; 8]; 8])[0][0], expected);
        }
    }
}
