//! The C interface, called by facecloak/photos/native_splice.py (the splice codec) and facecloak/faces/native_raster.py through ctypes.
//!
//! Everything that looks at a photo's bytes is safe Rust: reads are bounds-checked by the language, and a check that fails
//! panics, is caught here and becomes an error code. `unsafe` stands in this file only, where pointers of the caller become
//! slices; what the pointers must be is stated at each function.

mod bits;
mod coding;
mod dct;
mod fault;
mod header;
mod huffman;
mod mesh;
mod recode;
mod region;
mod scan;
mod splice;
mod warp;

use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::sync::Once;

use fault::Fault;
use region::{Bounds, Change, Levels};
use scan::Scan;
use warp::{Grid, Part, Plane};

/// One channel of interleaved float32 levels.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlaneView {
    levels: *const f32,
    length: usize,
    channels: u32,
    channel: u32,
}

/// A change of one region: MCUs, and a plane for each component.
#[repr(C)]
pub struct ChangeView {
    left: u32,
    top: u32,
    across: u32,
    down: u32,
    planes: [PlaneView; 3],
}

impl ChangeView {
    /// # Safety
    /// The planes of the first `components` point to `length` readable floats each, for as long as `'a`.
    unsafe fn read<'a>(&self, components: usize) -> Result<(Bounds, Vec<Levels<'a>>), Fault> {
        let mut planes = Vec::with_capacity(components);
        for plane in self.planes.iter().take(components) {
            if plane.levels.is_null() {
                return Err(Fault::BadRegion);
            }
            planes.push(Levels {
                values: unsafe { from_raw_parts(plane.levels, plane.length) },
                channels: plane.channels as usize,
                channel: plane.channel as usize,
            });
        }
        Ok((bounds(self.left, self.top, self.across, self.down), planes))
    }
}

/// Replacements: `count` rows of from, to, offset and length in `bytes`.
#[repr(C)]
pub struct Patch {
    count: usize,
    rows: *const [u64; 4],
    bytes: *const u8,
    rows_owned: Vec<[u64; 4]>,
    bytes_owned: Vec<u8>,
}

/// Goes up whenever a function or structure here changes; facecloak/native_library.py asks for the one it was written for.
const INTERFACE: u32 = 4;

/// The number of this interface.
#[no_mangle]
pub extern "C" fn splice_interface() -> u32 {
    INTERFACE
}

/// Runs `work`; a panic in it is a defect, told by the code and not by a message on the host's standard error.
fn guarded(work: impl FnOnce() -> Result<(), Fault>) -> i32 {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) => fault as i32,
        Err(_) => Fault::Defect as i32,
    }
}

/// Opens a JPEG. `data` must point to `length` readable bytes, `out` to a pointer; the scan keeps nothing of `data`.
/// # Safety
/// As stated.
#[no_mangle]
pub unsafe extern "C" fn splice_open(data: *const u8, length: usize, out: *mut *mut Scan) -> i32 {
    guarded(|| {
        let scan = Scan::open(unsafe { from_raw_parts(data, length) })?;
        unsafe { *out = Box::into_raw(Box::new(scan)) };
        Ok(())
    })
}

/// Ends a scan.
/// # Safety
/// `scan` comes from `splice_open` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn splice_close(scan: *mut Scan) {
    drop(unsafe { Box::from_raw(scan) });
}

/// Writes the width, height, number of components, MCU width and height in px, MCUs across and down, restart interval, the
/// end of the scan in the file, and the two sampling factors of three components.
/// # Safety
/// `scan` comes from `splice_open`; `out` points to 15 writable numbers.
#[no_mangle]
pub unsafe extern "C" fn splice_describe(scan: *const Scan, out: *mut u64) {
    let (scan, out) = unsafe { (&*scan, from_raw_parts_mut(out, 15)) };
    let header = &scan.header;
    let mut values = vec![
        header.width,
        header.height,
        header.components.len(),
        8 * header.across,
        8 * header.down,
        header.mcus_across,
        header.mcus_down,
        header.restart_interval,
        scan.end,
    ];
    values.extend(header.components.iter().flat_map(|component| [component.across, component.down]));
    for (place, value) in out.iter_mut().zip(values) {
        *place = value as u64;
    }
}

/// Writes the DC coefficient of every block of the first component, row by row.
/// # Safety
/// `scan` comes from `splice_open`; `out` points to `length` writable numbers.
#[no_mangle]
pub unsafe extern "C" fn splice_thumbnail(scan: *mut Scan, out: *mut i16, length: usize) -> i32 {
    guarded(|| {
        let (scan, out) = unsafe { (&mut *scan, from_raw_parts_mut(out, length)) };
        out.copy_from_slice(scan.thumbnail(length)?);
        Ok(())
    })
}

/// Decodes a region of MCUs at 1 to 8 samples a block side; see `region::decode`.
/// # Safety
/// `scan` comes from `splice_open`; `out` points to `length` writable bytes.
#[no_mangle]
pub unsafe extern "C" fn splice_decode(
    scan: *mut Scan,
    left: u32,
    top: u32,
    across: u32,
    down: u32,
    points: u32,
    out: *mut u8,
    length: usize,
) -> i32 {
    guarded(|| {
        let (scan, out) = unsafe { (&mut *scan, from_raw_parts_mut(out, length)) };
        decoded(scan, bounds(left, top, across, down), points as usize, out)
    })
}

/// With the processor's wide vectors where it has them, as `added`.
fn decoded(scan: &mut Scan, area: Bounds, points: usize, out: &mut [u8]) -> Result<(), Fault> {
    #[cfg(target_arch = "x86_64")]
    if has_vectors() {
        // Safe: the processor has what the function was compiled for.
        return unsafe { decoded_by_vectors(scan, area, points, out) };
    }
    region::decode(scan, area, points, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn decoded_by_vectors(scan: &mut Scan, area: Bounds, points: usize, out: &mut [u8]) -> Result<(), Fault> {
    region::decode(scan, area, points, out)
}

#[cfg(target_arch = "x86_64")]
fn has_vectors() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

/// Makes the patch that adds `count` changes; free it with `splice_free`.
/// # Safety
/// `scan` comes from `splice_open`; `changes` points to `count` views whose planes point to `length` readable floats each;
/// `out` points to a pointer.
#[no_mangle]
pub unsafe extern "C" fn splice_apply(
    scan: *mut Scan,
    changes: *const ChangeView,
    count: usize,
    out: *mut *mut Patch,
) -> i32 {
    guarded(|| {
        let (scan, views) = unsafe { (&mut *scan, from_raw_parts(changes, count)) };
        let mut changes = Vec::with_capacity(count);
        for view in views {
            changes.push(unsafe { view.read(scan.header.components.len()) }?);
        }
        let patch = Box::new(Patch::new(added(scan, &changes)?));
        unsafe { *out = Box::into_raw(patch) };
        Ok(())
    })
}

/// With the processor's wide vectors where it has them: a quarter less time.
fn added(scan: &mut Scan, changes: &[(Bounds, Vec<Levels>)]) -> Result<Vec<coding::Replacement>, Fault> {
    #[cfg(target_arch = "x86_64")]
    if has_vectors() {
        // Safe: the processor has what the function was compiled for.
        return unsafe { added_by_vectors(scan, changes) };
    }
    splice::add(scan, changes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn added_by_vectors(scan: &mut Scan, changes: &[(Bounds, Vec<Levels>)]) -> Result<Vec<coding::Replacement>, Fault> {
    splice::add(scan, changes)
}

/// Ends a patch.
/// # Safety
/// `patch` comes from `splice_apply` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn splice_free(patch: *mut Patch) {
    drop(unsafe { Box::from_raw(patch) });
}

/// Writes what `splice_apply` would add to the quantized coefficients of a region, before clamping: the components one after
/// the other, each block by block in rows, 64 numbers in natural order. For tests.
/// # Safety
/// As `splice_apply` for `scan` and `change`; `out` points to `length` writable numbers.
#[no_mangle]
pub unsafe extern "C" fn splice_deltas(scan: *const Scan, change: *const ChangeView, out: *mut i16, length: usize) -> i32 {
    guarded(|| {
        let (scan, view, out) = unsafe { (&*scan, &*change, from_raw_parts_mut(out, length)) };
        let (area, planes) = unsafe { view.read(scan.header.components.len()) }?;
        let change = Change::new(&scan.header, area, &planes)?;
        let mut blocks = out.chunks_exact_mut(64);
        for (index, component) in scan.header.components.iter().enumerate() {
            for y in 0..area.down * component.down {
                for x in 0..area.across * component.across {
                    let block = blocks.next().ok_or(Fault::BadRegion)?;
                    let values = change.block(index, x, y).unwrap_or_default();
                    block.copy_from_slice(values.as_flattened());
                }
            }
        }
        Ok(())
    })
}

/// Paints a mesh; see `mesh::paint`.
/// # Safety
/// `vertices` points to `count` rows of 3 floats, `values` to `count` rows of 2, `triangles` to `triangle_count` rows of 3
/// numbers, `out` to `side * side` writable rows of 2 floats.
#[no_mangle]
pub unsafe extern "C" fn mesh_paint(
    vertices: *const [f32; 3],
    values: *const [f32; 2],
    count: usize,
    triangles: *const [u16; 3],
    triangle_count: usize,
    side: usize,
    out: *mut [f32; 2],
) -> i32 {
    guarded(|| {
        let (vertices, values) = unsafe { (from_raw_parts(vertices, count), from_raw_parts(values, count)) };
        let triangles = unsafe { from_raw_parts(triangles, triangle_count) };
        mesh::paint(vertices, values, triangles, side, unsafe { from_raw_parts_mut(out, side * side) })
    })
}

/// A grid of nodes; see `warp::Grid`.
#[repr(C)]
pub struct GridView {
    nodes: *const [f32; 4],
    width: usize,
    height: usize,
    to_grid: [f64; 6],
}

/// Planes of one size; see `warp::Plane`.
#[repr(C)]
pub struct PlanesView {
    samples: [*const f32; 2],
    width: usize,
    height: usize,
}

/// Where changes are written: rows of `across` floats, `down` of them, that begin `stride` floats apart.
#[repr(C)]
pub struct OutsView {
    values: [*mut f32; 2],
    across: usize,
    down: usize,
    stride: usize,
}

/// What a grid changes in a part of one plane or two; see `warp::warp`.
/// # Safety
/// `grid` points to a view with `width * height` readable nodes; `planes` is null or points to a view whose first `count`
/// planes have `width * height` readable floats each; `outs` points to a view whose first `count` pointers are to writable
/// rows as it states, none of which are among the others.
#[no_mangle]
pub unsafe extern "C" fn plane_warp(
    planes: *const PlanesView,
    grid: *const GridView,
    left: usize,
    top: usize,
    count: usize,
    outs: *const OutsView,
) -> i32 {
    guarded(|| {
        let size = |width: usize, height: usize| width.checked_mul(height).ok_or(Fault::BadRegion);
        let (view, outs) = unsafe { (&*grid, &*outs) };
        let nodes = unsafe { from_raw_parts(view.nodes, size(view.width, view.height)?) };
        let grid = Grid::new(nodes, view.width, view.height, view.to_grid)?;
        if !(1..=2).contains(&count) || outs.down == 0 || outs.across > outs.stride {
            return Err(Fault::BadRegion);
        }
        let mut seen = Vec::with_capacity(2);
        if let Some(view) = unsafe { planes.as_ref() } {
            for &samples in view.samples.iter().take(count) {
                let samples = unsafe { from_raw_parts(samples, size(view.width, view.height)?) };
                seen.push(Plane::new(samples, view.width, view.height)?);
            }
        }
        let length = size(outs.down - 1, outs.stride)?.checked_add(outs.across).ok_or(Fault::BadRegion)?;
        let mut written = Vec::with_capacity(2);
        for &out in outs.values.iter().take(count) {
            written.push(unsafe { from_raw_parts_mut(out, length) });
        }
        warped(&seen, Part { left, top, across: outs.across, down: outs.down }, &grid, &mut written, outs.stride)
    })
}

/// With the processor's wide vectors where it has them, as `added`.
fn warped(planes: &[Plane], part: Part, grid: &Grid, outs: &mut [&mut [f32]], stride: usize) -> Result<(), Fault> {
    #[cfg(target_arch = "x86_64")]
    if has_vectors() {
        // Safe: the processor has what the function was compiled for.
        return unsafe { warped_by_vectors(planes, part, grid, outs, stride) };
    }
    warp::warp(planes, part, grid, outs, stride)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn warped_by_vectors(
    planes: &[Plane],
    part: Part,
    grid: &Grid,
    outs: &mut [&mut [f32]],
    stride: usize,
) -> Result<(), Fault> {
    warp::warp(planes, part, grid, outs, stride)
}

fn bounds(left: u32, top: u32, across: u32, down: u32) -> Bounds {
    Bounds { left: left as usize, top: top as usize, across: across as usize, down: down as usize }
}

impl Patch {
    fn new(replacements: Vec<coding::Replacement>) -> Self {
        let mut rows_owned = Vec::with_capacity(replacements.len());
        let mut bytes_owned = Vec::with_capacity(replacements.iter().map(|replacement| replacement.bytes.len()).sum());
        for replacement in &replacements {
            let numbers = [replacement.from, replacement.to, bytes_owned.len(), replacement.bytes.len()];
            rows_owned.push(numbers.map(|number| number as u64));
            bytes_owned.extend_from_slice(&replacement.bytes);
        }
        Patch {
            count: rows_owned.len(),
            rows: rows_owned.as_ptr(),
            bytes: bytes_owned.as_ptr(),
            rows_owned,
            bytes_owned,
        }
    }

    #[cfg(test)]
    fn is_consistent(&self) -> bool {
        self.count == self.rows_owned.len() && self.rows_owned.iter().all(|row| (row[2] + row[3]) as usize <= self.bytes_owned.len())
    }
}
