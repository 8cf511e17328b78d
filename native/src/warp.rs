//! What a displacement and levels change in planes of samples. Both lie on a coarse grid and are linear between its nodes;
//! samples are taken from where the displacement points by bicubic interpolation (Keys, "Cubic convolution interpolation for
//! digital image processing", 1981, with the parameter -0.75, as OpenCV has it).

use std::sync::OnceLock;

use crate::fault::Fault;

/// Places are whole parts of a sample, so many.
const PARTS_LOG2: i32 = 7;
const PARTS: usize = 1 << PARTS_LOG2;
/// Added to a whole number of less than 2^22, it leaves that in its lowest bits.
const WHOLE: f32 = 12_582_912.0;
/// Longest side of a plane or a grid: places are counted in parts, in less than 2^22.
const LONGEST: usize = 1 << 14;
/// Places further beyond the edge, in samples, show the same.
const BEYOND: f32 = 8.0;
const AT_ONCE: usize = 64;
/// Nodes from one sample that is looked at to the next, at most.
const FURTHEST: f64 = 0.67;

type Weights = [[f32; 4]; PARTS];

/// The weights of four samples, by the part behind the second one.
fn weights() -> &'static Weights {
    static WEIGHTS: OnceLock<Weights> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        std::array::from_fn(|part| {
            let at = part as f64 / PARTS as f64;
            let near = |x: f64| 1.25 * x * x * x - 2.25 * x * x + 1.0;
            let far = |x: f64| -0.75 * (x * x * x - 5.0 * x * x + 8.0 * x - 4.0);
            [far(1.0 + at), near(at), near(1.0 - at), far(2.0 - at)].map(|weight| weight as f32)
        })
    })
}

fn is_length(length: usize) -> bool {
    (1..=LONGEST).contains(&length)
}

/// `width` x `height` samples in rows.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    samples: &'a [f32],
    width: usize,
    height: usize,
}

impl<'a> Plane<'a> {
    pub fn new(samples: &'a [f32], width: usize, height: usize) -> Result<Self, Fault> {
        if !is_length(width) || !is_length(height) || samples.len() != width * height {
            return Err(Fault::BadRegion);
        }
        Ok(Plane { samples, width, height })
    }

    /// The plane at a place, in parts, where the first of the four times four samples about it is the one at `begin`;
    /// negative where not all are there.
    #[inline(always)]
    fn at(&self, weights: &Weights, x: i32, y: i32, begin: i32) -> f32 {
        let (across, down) = (&weights[x as usize & (PARTS - 1)], &weights[y as usize & (PARTS - 1)]);
        let columns: [f32; 4] = match usize::try_from(begin).ok().and_then(|begin| self.rows(begin)) {
            Some(rows) => std::array::from_fn(|x| {
                (rows[0][x] * down[0] + rows[1][x] * down[1]) + (rows[2][x] * down[2] + rows[3][x] * down[3])
            }),
            None => self.columns_at_edge((x >> PARTS_LOG2) - 1, (y >> PARTS_LOG2) - 1, down),
        };
        (columns[0] * across[0] + columns[1] * across[1]) + (columns[2] * across[2] + columns[3] * across[3])
    }

    /// Four samples in each of four rows.
    #[inline(always)]
    fn rows(&self, begin: usize) -> Option<[&[f32; 4]; 4]> {
        let row = |row: usize| self.samples.get(begin + row * self.width..)?.first_chunk::<4>();
        Some([row(0)?, row(1)?, row(2)?, row(3)?])
    }

    /// The weighted sums of four rows where not all samples are there: beyond the edge, the outermost ones go on.
    #[cold]
    fn columns_at_edge(&self, left: i32, top: i32, down: &[f32; 4]) -> [f32; 4] {
        let sample = |x: i32, y: i32| {
            let x = x.clamp(0, self.width as i32 - 1) as usize;
            let y = y.clamp(0, self.height as i32 - 1) as usize;
            self.samples.get(y * self.width + x).copied().unwrap_or(0.0)
        };
        std::array::from_fn(|x| (0..4).map(|y| sample(left + x as i32, top + y as i32) * down[y as usize]).sum())
    }
}

/// Nodes in rows, each the displacement in x and y and the levels of two planes; beyond the outermost nodes all is zero.
pub struct Grid<'a> {
    nodes: &'a [[f32; 4]],
    width: usize,
    height: usize,
    /// From a sample to the grid: x' = [0] x + [1] y + [2], y' = [3] x + [4] y + [5].
    to_grid: [f64; 6],
}

impl<'a> Grid<'a> {
    pub fn new(nodes: &'a [[f32; 4]], width: usize, height: usize, to_grid: [f64; 6]) -> Result<Self, Fault> {
        let finite = to_grid.iter().all(|number| number.is_finite());
        if !is_length(width) || !is_length(height) || nodes.len() != width * height || !finite {
            return Err(Fault::BadRegion);
        }
        Ok(Grid { nodes, width, height, to_grid })
    }

    /// Samples from one that is looked at to the next, 1, 2 or 4: what lies between is linear, too, and at these distances
    /// hardly parts from what the grid has there.
    fn stride(&self) -> usize {
        let [a, _, _, d, _, _] = self.to_grid;
        let nodes_a_sample = a.hypot(d);
        [4, 2].into_iter().find(|&stride| nodes_a_sample * stride as f64 <= FURTHEST).unwrap_or(1)
    }

    /// Fills `out`, each of the four in a row of its own, with what the grid has at the samples 0, `stride`, twice `stride`
    /// ... of a row.
    #[inline(always)]
    fn read(&self, row: usize, stride: usize, out: &mut [Vec<f32>; 4]) {
        let [a, b, c, d, e, f] = self.to_grid;
        let y = row as f64;
        let (x, y) = ((b * y + c) as f32, (e * y + f) as f32);
        let (step_x, step_y) = ((a * stride as f64) as f32, (d * stride as f64) as f32);
        let (last_x, last_y) = ((self.width - 1) as f32, (self.height - 1) as f32);
        // At the last node, that and the one before.
        let (first_x, first_y) = ((last_x - 1.0).max(0.0), (last_y - 1.0).max(0.0));
        let width = self.width as i32;
        let [one, two, three, four] = out;
        let outs = one.chunks_mut(AT_ONCE).zip(two.chunks_mut(AT_ONCE)).zip(three.chunks_mut(AT_ONCE)).zip(four.chunks_mut(AT_ONCE));
        for (chunk, (((one, two), three), four)) in outs.enumerate() {
            // Places first, several at a time.
            let (mut begins, mut xs, mut ys) = ([0i32; AT_ONCE], [0.0f32; AT_ONCE], [0.0f32; AT_ONCE]);
            let from = (chunk * AT_ONCE) as i32;
            for index in 0..AT_ONCE {
                let at = (from + index as i32) as f32;
                let (x, y) = (x + at * step_x, y + at * step_y);
                // Not for what is not a number either.
                let inside = (x >= 0.0) & (x <= last_x) & (y >= 0.0) & (y <= last_y);
                let (left, top) = (x.floor(), y.floor());
                let (left, top) = (if left < first_x { left } else { first_x }, if top < first_y { top } else { first_y });
                let begin = whole(top).wrapping_mul(width).wrapping_add(whole(left));
                begins[index] = if inside { begin } else { -1 };
                (xs[index], ys[index]) = (x - left, y - top);
            }
            for (index, (((one, two), three), four)) in one.iter_mut().zip(two).zip(three).zip(four).enumerate() {
                let index = index & (AT_ONCE - 1);
                let nodes = usize::try_from(begins[index]).ok().map(|begin| self.between(begin, xs[index], ys[index]));
                [*one, *two, *three, *four] = nodes.unwrap_or_default();
            }
        }
    }

    /// The grid behind the node at `begin`, by `x` and `y` of the way to the next ones.
    #[inline(always)]
    fn between(&self, begin: usize, x: f32, y: f32) -> [f32; 4] {
        let (Some([one, two]), Some([three, four])) = (self.pair(begin), self.pair(begin + self.width)) else {
            return self.between_at_edge(begin, x, y);
        };
        std::array::from_fn(|i| {
            let upper = one[i] + (two[i] - one[i]) * x;
            let lower = three[i] + (four[i] - three[i]) * x;
            upper + (lower - upper) * y
        })
    }

    #[inline(always)]
    fn pair(&self, begin: usize) -> Option<&[[f32; 4]; 2]> {
        self.nodes.get(begin..)?.first_chunk::<2>()
    }

    /// The same of a grid that is one node wide or high.
    #[cold]
    fn between_at_edge(&self, begin: usize, x: f32, y: f32) -> [f32; 4] {
        let node = |across: usize, down: usize| {
            let across = across.min(self.width - 1);
            let down = down.min(self.height - 1);
            self.nodes.get(begin + down * self.width + across).copied().unwrap_or_default()
        };
        let [one, two, three, four] = [node(0, 0), node(1, 0), node(0, 1), node(1, 1)];
        std::array::from_fn(|i| {
            let upper = one[i] + (two[i] - one[i]) * x;
            upper + (three[i] + (four[i] - three[i]) * x - upper) * y
        })
    }
}

/// A whole number of less than 2^22 as one.
#[inline(always)]
fn whole(number: f32) -> i32 {
    (number + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()) as i32
}

/// What the grid has at samples some apart, in the rows that a row of samples lies between.
struct Rows<'a> {
    grid: &'a Grid<'a>,
    stride: usize,
    /// The row that `lower` is of.
    next: usize,
    upper: [Vec<f32>; 4],
    lower: [Vec<f32>; 4],
}

/// Displacement in x and y, and levels of two planes, of some samples.
type Nodes = [[f32; AT_ONCE]; 4];

impl<'a> Rows<'a> {
    fn new(grid: &'a Grid, across: usize) -> Self {
        let stride = grid.stride();
        let blank = || std::array::from_fn(|_| vec![0.0; across / stride + AT_ONCE + 2]);
        let mut rows = Rows { grid, stride, next: 0, upper: blank(), lower: blank() };
        grid.read(0, stride, &mut rows.lower);
        rows
    }

    /// Goes on to a row; rows in turn.
    #[inline(always)]
    fn go_to(&mut self, row: usize) {
        while row >= self.next {
            std::mem::swap(&mut self.upper, &mut self.lower);
            self.next += self.stride;
            self.grid.read(self.next, self.stride, &mut self.lower);
        }
    }

    /// What is at the samples `column`, a multiple of `AT_ONCE`, and behind of a row that was gone to.
    #[inline(always)]
    fn fill(&self, column: usize, row: usize, out: &mut Nodes) {
        let first = column / self.stride;
        let down = (row + self.stride - self.next) as f32 / self.stride as f32;
        for ((upper, lower), out) in self.upper.iter().zip(&self.lower).zip(out) {
            let (upper, lower) = (upper.get(first..).unwrap_or_default(), lower.get(first..).unwrap_or_default());
            match self.stride {
                2 => mix::<2>(upper, lower, down, out),
                4 => mix::<4>(upper, lower, down, out),
                _ => {
                    for (out, node) in out.iter_mut().zip(upper) {
                        *out = *node;
                    }
                }
            }
        }
    }
}

/// Linear between two rows, and between each two of every `STRIDE` samples.
#[inline(always)]
fn mix<const STRIDE: usize>(upper: &[f32], lower: &[f32], down: f32, out: &mut [f32; AT_ONCE]) {
    let mut line = [0.0; AT_ONCE + 1];
    for ((line, upper), lower) in line.iter_mut().zip(upper).zip(lower).take(AT_ONCE / STRIDE + 1) {
        *line = upper + (lower - upper) * down;
    }
    for (ends, out) in line.windows(2).zip(out.chunks_exact_mut(STRIDE)) {
        for (index, out) in out.iter_mut().enumerate() {
            *out = ends[0] + (ends[1] - ends[0]) * (index as f32 / STRIDE as f32);
        }
    }
}

/// A place in parts, kept within `BEYOND` of `0..length`.
#[inline(always)]
fn in_parts(place: f32, length: f32) -> i32 {
    // Comparisons that fail for what is no number, which then is far below; unlike `max` they are one instruction each.
    let kept = if place > -BEYOND { place } else { -BEYOND };
    let kept = if kept < length + BEYOND { kept } else { length + BEYOND };
    whole(kept * PARTS as f32)
}

/// A part of planes: where its corner is, and how many samples it is wide and high.
#[derive(Clone, Copy)]
pub struct Part {
    pub left: usize,
    pub top: usize,
    pub across: usize,
    pub down: usize,
}

/// Writes by how much the samples of a part change, one plane to each of `outs`, one or two of them, in rows that begin
/// `stride` apart. The grid is counted from the part's corner. Without planes, nothing moves and only levels are added. Refused
/// where the part is not within the planes, or not all of it in `outs`.
#[inline(always)]
pub fn warp(planes: &[Plane], part: Part, grid: &Grid, outs: &mut [&mut [f32]], stride: usize) -> Result<(), Fault> {
    let Part { left, top, across, down } = part;
    if !is_length(across) || !is_length(down) || across > stride || !(1..=2).contains(&outs.len()) {
        return Err(Fault::BadRegion);
    }
    let written = (down - 1).checked_mul(stride).and_then(|before| before.checked_add(across)).ok_or(Fault::BadRegion)?;
    if outs.iter().any(|out| out.len() < written) {
        return Err(Fault::BadRegion);
    }
    let holds = |plane: &Plane| {
        left <= plane.width && across <= plane.width - left && top <= plane.height && down <= plane.height - top
    };
    if !planes.is_empty() && (planes.len() != outs.len() || !planes.iter().all(holds)) {
        return Err(Fault::BadRegion);
    }
    let (width, height) = planes.first().map_or((1, 1), |plane| (plane.width, plane.height));
    if planes.iter().any(|plane| (plane.width, plane.height) != (width, height)) {
        return Err(Fault::BadRegion);
    }
    let (row_of_plane, last_left, last_top) = (width as i32, width as i32 - 4, height as i32 - 4);
    let weights = weights();
    let mut rows = Rows::new(grid, across);
    for row in 0..down {
        let line = (top + row) as f32;
        rows.go_to(row);
        for begin in (0..across).step_by(AT_ONCE) {
            let length = AT_ONCE.min(across - begin);
            let mut nodes = [[0.0; AT_ONCE]; 4];
            rows.fill(begin, row, &mut nodes);
            let [dx, dy, ..] = &nodes;
            for (index, out) in outs.iter_mut().enumerate() {
                let at = row * stride + begin;
                out[at..at + length].copy_from_slice(&nodes[2 + index][..length]);
            }
            if planes.is_empty() {
                continue;
            }
            // Places first, several at a time.
            let first = (left + begin) as f32;
            let (mut xs, mut ys, mut firsts, mut still) = ([0; AT_ONCE], [0; AT_ONCE], [0; AT_ONCE], [true; AT_ONCE]);
            for index in 0..AT_ONCE {
                let column = first + index as i32 as f32;
                let (x, y) = (in_parts(column + dx[index], width as f32), in_parts(line + dy[index], height as f32));
                let (left, top) = ((x >> PARTS_LOG2) - 1, (y >> PARTS_LOG2) - 1);
                let inside = (left >= 0) & (left <= last_left) & (top >= 0) & (top <= last_top);
                firsts[index] = if inside { top.wrapping_mul(row_of_plane).wrapping_add(left) } else { -1 };
                still[index] = (x == in_parts(column, width as f32)) & (y == in_parts(line, height as f32));
                (xs[index], ys[index]) = (x, y);
            }
            for (plane, out) in planes.iter().zip(outs.iter_mut()) {
                let at = (top + row) * width + left + begin;
                let samples = plane.samples.get(at..at + length).ok_or(Fault::Defect)?;
                let at = row * stride + begin;
                for (index, (out, sample)) in out[at..at + length].iter_mut().zip(samples).enumerate() {
                    let index = index & (AT_ONCE - 1);
                    if !still[index] {
                        *out += plane.at(weights, xs[index], ys[index], firsts[index]) - sample;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

    fn ramp() -> Vec<f32> {
        (0..80).map(|index| (index % 10) as f32 * 3.0 + (index / 10) as f32 * 5.0).collect()
    }

    /// Of a plane of 10 x 8 samples, with nodes at the samples themselves.
    fn changed(part: Part, nodes: &[[f32; 4]]) -> Result<Vec<f32>, Fault> {
        let samples = ramp();
        let plane = Plane::new(&samples, 10, 8)?;
        let mut out = vec![9.0; nodes.len()];
        let grid = Grid::new(nodes, part.across, part.down, SAME)?;
        warp(&[plane], part, &grid, &mut [&mut out], part.across)?;
        Ok(out)
    }

    #[test]
    fn whole_steps_are_the_samples_and_parts_lie_between() {
        let nodes = [[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0], [0.5, 0.5, 0.25, 0.0], [-2.0, 0.0, 0.0, 0.0]];
        let out = changed(Part { left: 4, top: 3, across: 2, down: 2 }, &nodes).unwrap();
        assert_eq!(out[..2], [0.0, 3.0 - 5.0]);
        assert!((out[2] - (1.5 + 2.5 + 0.25)).abs() < 1e-4);
        assert_eq!(out[3], -6.0);
    }

    #[test]
    fn between_nodes_the_grid_is_linear_and_beyond_them_zero() {
        let nodes = [[0.0, 0.0, 8.0, 1.0], [0.0, 0.0, 16.0, 2.0], [0.0, 0.0, 24.0, 3.0], [0.0, 0.0, 32.0, 4.0]];
        let grid = Grid::new(&nodes, 2, 2, [0.75, 0.0, -0.75, 0.0, 0.5, 0.0]).unwrap();
        let (mut one, mut two) = ([9.0; 14], [9.0; 15]);
        warp(&[], Part { left: 0, top: 0, across: 4, down: 3 }, &grid, &mut [&mut one, &mut two], 5).unwrap();
        // What lies between the rows is left as it was.
        assert_eq!(one, [0.0, 8.0, 14.0, 0.0, 9.0, 0.0, 16.0, 22.0, 0.0, 9.0, 0.0, 24.0, 30.0, 0.0]);
        assert_eq!(two[10..], [0.0, 3.0, 3.75, 0.0, 9.0]);
    }

    #[test]
    fn looked_at_now_and_then_a_fine_grid_is_the_same_where_it_is_linear() {
        let nodes: Vec<[f32; 4]> = (0..400).map(|at| [0.0, 0.0, (at % 20) as f32 + (at / 20) as f32 * 3.0, 0.0]).collect();
        for nodes_a_sample in [0.1, 0.2, 0.4] {
            let to_grid = [nodes_a_sample, 0.01, 0.5, -0.01, nodes_a_sample, 1.0];
            let grid = Grid::new(&nodes, 20, 20, to_grid).unwrap();
            let mut out = [9.0; 25 * 30];
            warp(&[], Part { left: 0, top: 0, across: 25, down: 30 }, &grid, &mut [&mut out], 25).unwrap();
            for (at, found) in out.into_iter().enumerate() {
                let (x, y) = ((at % 25) as f64, (at / 25) as f64);
                let (x, y) = (to_grid[0] * x + to_grid[1] * y + to_grid[2], to_grid[3] * x + to_grid[4] * y + to_grid[5]);
                assert!((f64::from(found) - (x + 3.0 * y)).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn weights_sum_to_one_and_are_the_kernel() {
        for weights in weights() {
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(weights()[0], [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(weights()[PARTS / 2], [-0.09375, 0.59375, 0.59375, -0.09375]);
    }

    #[test]
    fn beyond_the_edge_the_outermost_samples_go_on() {
        for (dx, dy, expected) in [(-3.0, 0.0, 0.0), (-1000.0, -2.0, 0.0), (2000.0, 0.0, 27.0), (0.0, 500.0, 35.0)] {
            assert_eq!(changed(Part { left: 0, top: 0, across: 1, down: 1 }, &[[dx, dy, 0.0, 0.0]]).unwrap(), [expected]);
        }
    }

    #[test]
    fn absurd_shifts_and_grids_do_no_harm() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e9, -7.0, 40.0] {
            let nodes = [[bad, 0.0, 0.0, 0.0], [0.0, bad, 0.0, 0.0], [bad, bad, 0.0, 0.0]];
            changed(Part { left: 0, top: 0, across: 3, down: 1 }, &nodes).unwrap();
            let grid = Grid::new(&nodes, 3, 1, [f64::from(bad), 1.0, 0.0, 0.0, 1.0, 0.0]);
            if let Ok(grid) = grid {
                warp(&[], Part { left: 0, top: 0, across: 9, down: 2 }, &grid, &mut [&mut [0.0; 18]], 9).unwrap();
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (left, top, across, down) in [(9, 0, 2, 1), (0, 7, 1, 2), (usize::MAX, 0, 1, 1), (0, 0, 0, 0)] {
            assert!(changed(Part { left, top, across, down }, &vec![[0.0; 4]; across * down]).is_err());
        }
        let samples = ramp();
        for (width, height) in [(9, 8), (usize::MAX, 2), (0, 0), (80, 0), (1 << 15, 1)] {
            assert!(Plane::new(&samples, width, height).is_err());
            assert!(Grid::new(&[[0.0; 4]; 80], width, height, SAME).is_err());
        }
        let (plane, other) = (Plane::new(&samples, 10, 8).unwrap(), Plane::new(&samples, 8, 10).unwrap());
        let nodes = [[0.0; 4]; 4];
        let grid = Grid::new(&nodes, 2, 2, SAME).unwrap();
        let part = Part { left: 0, top: 0, across: 2, down: 2 };
        assert!(warp(&[plane, other], part, &grid, &mut [&mut [0.0; 4], &mut [0.0; 4]], 2).is_err());
        assert!(warp(&[plane], part, &grid, &mut [&mut [0.0; 4], &mut [0.0; 4]], 2).is_err());
        assert!(warp(&[], part, &grid, &mut [], 2).is_err());
        for (count, stride) in [(3, 2), (4, 1), (4, 3), (4, usize::MAX)] {
            assert!(warp(&[], part, &grid, &mut [&mut vec![0.0; count]], stride).is_err());
        }
    }
}
