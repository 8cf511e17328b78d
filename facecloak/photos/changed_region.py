"""Samples of a part of a photo, and how one change after the other changes them: displaced, then added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from facecloak.photos.native_splice import warp

Rectangle = tuple[int, int, int, int]
"""(left, top, right, bottom) px, right and bottom exclusive."""


class Addend(Protocol):
    """What is changed in a photo: :class:`facecloak.cloaking.placement.Placement`."""

    @property
    def overreach_px(self) -> float | None:
        """How far outside its bounds what it displaces may come from, px; None where nothing moves."""
        ...

    def bounds(self, *, width: int, height: int) -> Rectangle: ...

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray | None: ...

    def displacement(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1)
    ) -> np.ndarray | None: ...

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> Nodes | None:
        """What it changes in samples of ``step`` px, on a coarse grid; None where only :meth:`change` and
        :meth:`displacement` tell."""
        ...


@dataclass(frozen=True, eq=False)
class Nodes:
    """What is changed, on a coarse grid: linear between its nodes, zero beyond the outermost ones.

    Attributes:
        shift: (rows, columns) float32 px of the photo, of x and of y; None where nothing moves.
        levels: (rows, columns) float32 for each component; None where nothing is added.
        to_nodes: (2, 3) float64 from px of the photo to nodes.
    """

    shift: tuple[np.ndarray, np.ndarray] | None
    levels: Sequence[np.ndarray] | None
    to_nodes: np.ndarray


class ChangedRegion:
    """A part of an upright photo, as samples of one or several components of the same sampling.

    Attributes:
        changes: (rows, columns) float32 for each component: by how much its samples change in the inner part.
    """

    def __init__(
        self,
        *,
        seen: Rectangle,
        inner: Rectangle,
        step: tuple[int, int],
        components: int,
        samples: Sequence[np.ndarray],
    ) -> None:
        """
        Args:
            seen: the part that is looked at.
            inner: the part of it that may change.
            step: px of a sample, across and down; both parts hold whole ones.
            samples: (rows, columns) float32 of ``seen`` for each component; none where nothing is displaced.
        """
        self._inner, self._step, self._samples = inner, step, samples
        self._aside = (inner[0] - seen[0]) // step[0], (inner[1] - seen[1]) // step[1]
        size = (inner[3] - inner[1]) // step[1], (inner[2] - inner[0]) // step[0]
        self.changes = [np.zeros(size, np.float32) for _ in range(components)]
        self._is_changed = False

    def change(self, addend: Addend, colors: np.ndarray) -> None:
        """Changes what former ones left.

        Args:
            colors: (components, 3) what each takes of R, G and B.
        """
        left, top, right, bottom = self._touched(addend.bounds(width=self._inner[2], height=self._inner[3]))
        if left >= right or top >= bottom:
            return
        part = left, top, right, bottom
        changed = [plane[top:bottom, left:right] for plane in self.changes]
        nodes = addend.nodes(step=self._step, colors=colors)
        if nodes is None and addend.overreach_px is None:
            for plane, levels in zip(changed, self._levels(addend, colors, part), strict=False):
                plane += levels
        else:
            self._warp(nodes or self._own_nodes(addend, colors, part), part, changed)
        self._is_changed = True

    def _warp(self, nodes: Nodes, part: Rectangle, changed: Sequence[np.ndarray]) -> None:
        if nodes.shift is None and nodes.levels is None:
            return
        left, top = part[:2]
        shown = self._shown() if nodes.shift is not None else ()
        to_nodes = self._from_samples(nodes.to_nodes, left, top)
        # To what former ones changed, it is added; where there were none, it is written.
        outs = [np.empty_like(plane) for plane in changed] if self._is_changed else changed
        # Two components at a time, the displacement of both being one.
        for first in range(0, len(outs), 2):
            two = outs[first : first + 2]
            grid = self._grid(nodes, first, len(two))
            place = {"left": left + self._aside[0], "top": top + self._aside[1]}
            warp(shown[first : first + 2], grid, to_nodes, two, **place)
        if outs is not changed:
            for plane, change in zip(changed, outs, strict=True):
                plane += change

    def _levels(self, addend: Addend, colors: np.ndarray, part: Rectangle) -> list[np.ndarray]:
        levels = addend.change(**self._place(part), step=self._step, colors=colors)
        return [] if levels is None else [*cv2.split(levels)]

    def _place(self, part: Rectangle) -> dict[str, int]:
        """Samples of the inner part as px of the photo, and how many."""
        left, top, right, bottom = part
        corner = {"left": self._inner[0] + left * self._step[0], "top": self._inner[1] + top * self._step[1]}
        return {**corner, "width": right - left, "height": bottom - top}

    def _own_nodes(self, addend: Addend, colors: np.ndarray, part: Rectangle) -> Nodes:
        """One for each sample of a part."""
        place = self._place(part)
        shift = addend.displacement(**place, step=self._step)
        moved = None
        if shift is not None:
            moved = shift[:, :, 0] * np.float32(self._step[0]), shift[:, :, 1] * np.float32(self._step[1])
        scale = np.diag([1 / step for step in self._step])
        first = np.array([place["left"], place["top"]]) + (np.array(self._step) - 1) / 2
        to_nodes = np.hstack([scale, -scale @ first[:, None]])
        return Nodes(moved, self._levels(addend, colors, part) or None, to_nodes)

    def _grid(self, nodes: Nodes, first: int, count: int) -> np.ndarray:
        """(rows, columns, 4) float32: the displacement in samples, and the levels of one component or two."""
        levels = [] if nodes.levels is None else list(nodes.levels[first : first + count])
        blank = np.zeros((nodes.levels or nodes.shift or ())[0].shape, np.float32)
        shift = [blank, blank]
        if nodes.shift is not None:
            shift = [np.asarray(part / np.float32(step)) for part, step in zip(nodes.shift, self._step, strict=True)]
        return cv2.merge([*shift, *levels, *[blank] * (2 - len(levels))])

    def _from_samples(self, to_nodes: np.ndarray, left: int, top: int) -> np.ndarray:
        """(2, 3) to nodes from samples, counted from one of the inner part."""
        step = np.array(self._step)
        corner = self._inner[:2] + step * (left, top) + (step - 1) / 2
        return np.hstack([to_nodes[:, :2] * step, (to_nodes[:, :2] @ corner + to_nodes[:, 2])[:, None]])

    def _shown(self) -> Sequence[np.ndarray]:
        """The samples as they are now."""
        if not self._is_changed:
            return self._samples
        shown = [plane.copy() for plane in self._samples]
        for plane, change in zip(shown, self.changes, strict=True):
            (rows, columns), (left, top) = change.shape, self._aside
            plane[top : top + rows, left : left + columns] += change
        return shown

    def _touched(self, bounds: Rectangle) -> Rectangle:
        """The samples of the inner part that bounds touch."""
        (left, top), (across, down) = self._inner[:2], self._step
        return (
            max((bounds[0] - left) // across, 0), max((bounds[1] - top) // down, 0),
            -(-(bounds[2] - left) // across), -(-(bounds[3] - top) // down),
        )  # fmt: skip
