"""The splice codec's compiled part, called through ctypes, which releases the GIL; without it photos take the full
way."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from facecloak.errors import FaceCloakError
from facecloak.native_library import compiled_library


class Fault(IntEnum):
    """Why a photo cannot be spliced; the numbers up to DEFECT are those of native/src/fault.rs."""

    UNSUPPORTED = 1
    DAMAGED = 2
    NO_CODE = 3
    BAD_REGION = 4
    DEFECT = 5
    NO_LIBRARY = 6
    NOT_A_JPEG = 7


class CannotSplice(FaceCloakError):
    """This photo has to be decoded and encoded again; never leaves the domain."""

    reason = "CANNOT_SPLICE"

    def __init__(self, fault: Fault) -> None:
        super().__init__("the photo cannot be spliced", fault=fault.name)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Change:
    """What to add to a rectangle of MCUs.

    Attributes:
        left, top, across, down: the rectangle, in MCUs.
        planes: for each component the levels of its samples in the part of the picture that the MCUs hold: an array
            (rows, columns, channels) float32, C-contiguous, and which channel of it.
    """

    left: int
    top: int
    across: int
    down: int
    planes: Sequence[tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Replacement:
    """``data[begin:end]`` of the file is to become ``content``."""

    begin: int
    end: int
    content: bytes


class _PlaneView(ctypes.Structure):
    _fields_ = [
        ("levels", ctypes.c_void_p), ("length", ctypes.c_size_t), ("channels", ctypes.c_uint32),
        ("channel", ctypes.c_uint32),
    ]  # fmt: skip


class _ChangeView(ctypes.Structure):
    _fields_ = [
        ("left", ctypes.c_uint32), ("top", ctypes.c_uint32), ("across", ctypes.c_uint32), ("down", ctypes.c_uint32),
        ("planes", _PlaneView * 3),
    ]  # fmt: skip


class _Patch(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_size_t),
        ("rows", ctypes.POINTER(ctypes.c_uint64)),
        ("content", ctypes.c_void_p),
    ]


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = compiled_library()
    if library is None:
        return None
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
    signatures = {
        "splice_open": [ctypes.c_char_p, size, ctypes.POINTER(pointer)],
        "splice_close": [pointer],
        "splice_describe": [pointer, pointer],
        "splice_thumbnail": [pointer, pointer, size],
        "splice_decode": [pointer, number, number, number, number, number, pointer, size],
        "splice_apply": [pointer, pointer, size, ctypes.POINTER(ctypes.POINTER(_Patch))],
        "splice_free": [ctypes.POINTER(_Patch)],
        "splice_deltas": [pointer, pointer, pointer, size],
        "plane_warp": [pointer, pointer, size, size, size, pointer],
    }
    for name, arguments in signatures.items():
        getattr(library, name).argtypes = arguments
    for name in ("splice_close", "splice_describe", "splice_free"):
        getattr(library, name).restype = None
    return library


def is_available() -> bool:
    """Whether the compiled part is there."""
    return _library() is not None


class _GridView(ctypes.Structure):
    _fields_ = [
        ("nodes", ctypes.c_void_p), ("width", ctypes.c_size_t), ("height", ctypes.c_size_t),
        ("to_grid", ctypes.c_double * 6),
    ]  # fmt: skip


class _PlanesView(ctypes.Structure):
    _fields_ = [("samples", ctypes.c_void_p * 2), ("width", ctypes.c_size_t), ("height", ctypes.c_size_t)]


class _OutsView(ctypes.Structure):
    _fields_ = [
        ("values", ctypes.c_void_p * 2), ("across", ctypes.c_size_t), ("down", ctypes.c_size_t),
        ("stride", ctypes.c_size_t),
    ]  # fmt: skip


def warp(
    planes: Sequence[np.ndarray],
    grid: np.ndarray,
    to_grid: np.ndarray,
    outs: Sequence[np.ndarray],
    *,
    left: int,
    top: int,
) -> None:
    """Writes to ``outs`` by how much the samples of a part of one plane or two change.

    Each shows what the displacement points at, bicubic between samples, beyond the edge the outermost ones; and levels
    are added. Where the displacement is zero, it changes nothing.

    Args:
        planes: (H, W) float32 each; none where nothing is displaced.
        grid: (h, w, 4) float32 nodes: displacement in samples, x then y, and the levels of the planes; linear between
            nodes, zero beyond the outermost ones.
        to_grid: (2, 3) from samples, counted from the part's corner, to nodes.
        outs: (down, across) float32 for each plane, of the part's size; rows may lie apart, alike in both.
        left, top: the part's corner in ``planes``.
    """
    library = _library()
    if library is None:
        raise CannotSplice(Fault.NO_LIBRARY)
    nodes = np.ascontiguousarray(grid, np.float32)
    sources = [np.ascontiguousarray(plane, np.float32) for plane in planes]
    alike = {(out.shape, out.strides, out.dtype.str) for out in outs}
    fits = nodes.ndim == 3 and nodes.shape[2] == 4 and min(left, top) >= 0 and len(alike) == 1 and len(outs) <= 2
    if not fits or outs[0].dtype != np.float32 or outs[0].ndim != 2 or outs[0].strides[1] != 4:
        raise CannotSplice(Fault.BAD_REGION)
    if sources and (len(sources) != len(outs) or len({source.shape for source in sources}) != 1):
        raise CannotSplice(Fault.BAD_REGION)
    view = _GridView(nodes.ctypes.data, nodes.shape[1], nodes.shape[0], (ctypes.c_double * 6)(*to_grid.ravel()))
    seen = None
    if sources:
        samples = (ctypes.c_void_p * 2)(*(source.ctypes.data for source in sources))
        seen = ctypes.byref(_PlanesView(samples, sources[0].shape[1], sources[0].shape[0]))
    (down, across), values = outs[0].shape, (ctypes.c_void_p * 2)(*(out.ctypes.data for out in outs))
    written = _OutsView(values, across, down, outs[0].strides[0] // 4)
    _check(library.plane_warp(seen, ctypes.byref(view), left, top, len(outs), ctypes.byref(written)))


class NativeScan:
    """The one scan of a baseline JPEG. Reads of it are made as far down as they are needed, and never twice.

    Not for two threads at once.

    Attributes:
        width, height: px, as stored.
        mcu_width, mcu_height: px.
        mcus_across, mcus_down: MCUs.
        restart_interval: MCUs, 0 for none.
        end: offset in the file of the marker behind the scan.
        factors: (horizontal, vertical) sampling factors of each component.
    """

    def __init__(self, data: bytes) -> None:
        """Raises :class:`CannotSplice`."""
        library = _library()
        if library is None:
            raise CannotSplice(Fault.NO_LIBRARY)
        self._library = library
        self._scan = ctypes.c_void_p()
        _check(library.splice_open(data, len(data), ctypes.byref(self._scan)))
        weakref.finalize(self, library.splice_close, self._scan)
        numbers = np.zeros(15, np.uint64)
        library.splice_describe(self._scan, numbers.ctypes.data)
        values = numbers.tolist()
        self.width, self.height, components = values[:3]
        self.mcu_width, self.mcu_height, self.mcus_across, self.mcus_down = values[3:7]
        self.restart_interval, self.end = values[7:9]
        self.factors = tuple(zip(values[9 : 9 + 2 * components : 2], values[10 : 9 + 2 * components : 2], strict=True))

    def dc_luma(self) -> np.ndarray:
        """(rows, columns) int16: the first component's quantized DC coefficients."""
        across, down = self.factors[0]
        out = np.empty((self.mcus_down * down, self.mcus_across * across), np.int16)
        _check(self._library.splice_thumbnail(self._scan, out.ctypes.data, out.size))
        return out

    def decode(self, *, left: int, top: int, across: int, down: int, points: int) -> list[np.ndarray]:
        """The components of a rectangle of MCUs, each (rows, columns) uint8 at its own sampling, with ``points``
        samples (1 to 8) a block side."""
        shapes = [(down * vertical * points, across * horizontal * points) for horizontal, vertical in self.factors]
        out = np.empty(sum(rows * columns for rows, columns in shapes), np.uint8)
        _check(self._library.splice_decode(self._scan, left, top, across, down, points, out.ctypes.data, out.size))
        ends = np.cumsum([rows * columns for rows, columns in shapes]).tolist()
        return [
            out[end - rows * columns : end].reshape(rows, columns)
            for end, (rows, columns) in zip(ends, shapes, strict=True)
        ]

    def apply(self, changes: Sequence[Change]) -> list[Replacement]:
        """What to replace in the file, in file order, to add ``changes``, whose rectangles must not overlap."""
        views = (_ChangeView * len(changes))(*(_view(change) for change in changes))
        patch = ctypes.POINTER(_Patch)()
        _check(self._library.splice_apply(self._scan, views, len(changes), ctypes.byref(patch)))
        try:
            count, rows, content = patch.contents.count, patch.contents.rows, patch.contents.content or 0
            return [
                Replacement(
                    begin=rows[4 * row],
                    end=rows[4 * row + 1],
                    content=ctypes.string_at(content + rows[4 * row + 2], rows[4 * row + 3]),
                )
                for row in range(count)
            ]
        finally:
            self._library.splice_free(patch)

    def deltas(self, change: Change) -> list[np.ndarray]:
        """What :meth:`apply` adds to the quantized coefficients, before it clamps: for each component
        (block rows, block columns, 8, 8) int16. For tests."""
        shapes = [(change.down * vertical, change.across * horizontal, 8, 8) for horizontal, vertical in self.factors]
        out = np.empty(sum(int(np.prod(shape)) for shape in shapes), np.int16)
        view = _view(change)
        _check(self._library.splice_deltas(self._scan, ctypes.byref(view), out.ctypes.data, out.size))
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()
        return [out[end - int(np.prod(shape)) : end].reshape(shape) for end, shape in zip(ends, shapes, strict=True)]


def _view(change: Change) -> _ChangeView:
    planes = (_PlaneView * 3)()
    for view, (levels, channel) in zip(planes, change.planes, strict=False):
        if levels.dtype != np.float32 or not levels.flags.c_contiguous or levels.ndim != 3:
            raise CannotSplice(Fault.BAD_REGION)
        view.levels, view.length = levels.ctypes.data, levels.size
        view.channels, view.channel = levels.shape[2], channel
    return _ChangeView(change.left, change.top, change.across, change.down, planes)


def _check(status: int) -> None:
    if status:
        raise CannotSplice(Fault(status))
