//! Painting a mesh: what its vertices hold, seen at each pixel of a square picture.

use crate::fault::Fault;

/// Pixels whose center lies beyond a triangle's edge by no more than this, along the axis that crosses the edge more, are
/// its own too, as a polygon's outline paints them: facecloak/faces/raster.py paints so.
const RIM: f32 = 0.5;
/// In a sliver, such a pixel would be far outside in the triangle's coordinates.
const OVERHANG: f32 = 0.25;

/// Paints triangles far to near, those that turn their backs left out, into `out`: `side` rows of `side` pixels of two
/// values, interpolated between `values` of the corners. `vertices`: x, y in pixels and depth, away from the camera.
/// Pixels that no triangle covers keep what they hold. Refused where a triangle names a vertex that there is not.
pub fn paint(
    vertices: &[[f32; 3]],
    values: &[[f32; 2]],
    triangles: &[[u16; 3]],
    side: usize,
    out: &mut [[f32; 2]],
) -> Result<(), Fault> {
    if out.len() != side * side || values.len() != vertices.len() {
        return Err(Fault::BadRegion);
    }
    let mut front = Vec::with_capacity(triangles.len());
    for triangle in triangles {
        let mut corners = [[0.0; 3]; 3];
        let mut held = [[0.0; 2]; 3];
        for (place, &vertex) in triangle.iter().enumerate() {
            corners[place] = *vertices.get(usize::from(vertex)).ok_or(Fault::BadRegion)?;
            held[place] = *values.get(usize::from(vertex)).ok_or(Fault::BadRegion)?;
        }
        let [one, two, three] = corners;
        let area = (two[0] - one[0]) * (three[1] - one[1]) - (two[1] - one[1]) * (three[0] - one[0]);
        // Not for what is not a number either.
        if area > 0.0 && area.is_finite() {
            front.push((one[2] + two[2] + three[2], area, corners, held));
        }
    }
    front.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (_, area, [one, two, three], held) in front {
        let across = span([one[0], two[0], three[0]], side);
        let rims = [rim(two, three, area), rim(three, one, area), rim(one, two, area)];
        for y in span([one[1], two[1], three[1]], side) {
            for x in across.clone() {
                let (from_x, from_y) = (x as f32 - one[0], y as f32 - one[1]);
                let second = (from_x * (three[1] - one[1]) - from_y * (three[0] - one[0])) / area;
                let third = ((two[0] - one[0]) * from_y - (two[1] - one[1]) * from_x) / area;
                let weights = [1.0 - second - third, second, third];
                if weights.iter().zip(rims).all(|(&weight, rim)| weight >= -rim) {
                    let kept = weights.map(|weight| weight.clamp(-OVERHANG, 1.0 + OVERHANG));
                    let total: f32 = kept.iter().sum();
                    let mix = |channel: usize| (0..3).map(|corner| kept[corner] * held[corner][channel]).sum::<f32>() / total;
                    out[y * side + x] = [mix(0), mix(1)];
                }
            }
        }
    }
    Ok(())
}

/// How far `RIM` is beyond the edge of two corners, in the weight of the third.
fn rim(from: [f32; 3], to: [f32; 3], area: f32) -> f32 {
    RIM * (to[0] - from[0]).abs().max((to[1] - from[1]).abs()) / area
}

/// The whole numbers within half a pixel of the range of three, within `0..side`.
fn span(places: [f32; 3], side: usize) -> std::ops::Range<usize> {
    let low = (places.iter().copied().fold(f32::INFINITY, f32::min) - RIM).ceil().max(0.0);
    let high = (places.iter().copied().fold(f32::NEG_INFINITY, f32::max) + RIM).floor();
    if high < low {
        return 0..0;
    }
    // Conversions stop at the ends of usize.
    low as usize..(high as usize).saturating_add(1).min(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: [[u16; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

    fn square(low: f32, high: f32, depth: f32) -> [[f32; 3]; 4] {
        [[low, low, depth], [high, low, depth], [high, high, depth], [low, high, depth]]
    }

    #[test]
    fn the_nearer_one_is_seen_and_backs_are_not() {
        let vertices = [square(0.0, 7.0, 5.0), square(2.0, 4.0, 1.0)].concat();
        let values: Vec<[f32; 2]> = vertices.iter().map(|vertex| [vertex[0], vertex[2]]).collect();
        let near = [[4, 5, 6], [4, 6, 7]];
        let triangles = [near.as_slice(), &SQUARE].concat();
        let mut out = [[-1.0; 2]; 100];
        paint(&vertices, &values, &triangles, 10, &mut out).unwrap();
        assert_eq!(out[3 * 10 + 3], [3.0, 1.0]);
        assert!((out[6 * 10 + 5][0] - 5.0).abs() < 1e-4 && out[6 * 10 + 5][1] == 5.0);
        assert_eq!(out[88], [-1.0; 2]);
        let mut backs = [[-1.0; 2]; 100];
        paint(&vertices, &values, &[[2, 1, 0], [3, 2, 0]], 10, &mut backs).unwrap();
        assert!(backs.iter().all(|&pixel| pixel == [-1.0; 2]));
    }

    #[test]
    fn absurd_vertices_do_no_harm() {
        for bad in [f32::NAN, f32::INFINITY, -1e30, 1e30] {
            let mut vertices = square(0.0, 7.0, 5.0);
            vertices[2] = [bad, bad, bad];
            paint(&vertices, &[[0.0; 2]; 4], &SQUARE, 10, &mut [[0.0; 2]; 100]).unwrap();
        }
        assert!(paint(&square(0.0, 7.0, 5.0), &[[0.0; 2]; 4], &[[0, 1, 9]], 10, &mut [[0.0; 2]; 100]).is_err());
    }
}
