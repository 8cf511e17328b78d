"""Figures of several photos together; what is measured of one is the studio's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def mean_of(rows: Sequence[Mapping[str, float]], recognizer: str) -> float | None:
    """Mean over the photos that have a figure for this recognizer; None where none has."""
    values = [row[recognizer] for row in rows if recognizer in row]
    return float(np.mean(values)) if values else None
