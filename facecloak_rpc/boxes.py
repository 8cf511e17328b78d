"""Face boxes between protobuf and domain, for both services."""

from __future__ import annotations

import math

from facecloak.errors import InvalidInput
from facecloak.faces import Box
from facecloak.v1 import common_pb2

# Far beyond any photo's side, and small enough that no arithmetic on it overflows.
_COORDINATE_LIMIT = 1e6


def is_coordinate(value: float) -> bool:
    """Whether a number that a caller sent can be a place in a photo."""
    return math.isfinite(value) and abs(value) <= _COORDINATE_LIMIT


def box_from(message: common_pb2.FaceBox, *, field: str) -> Box:
    """Raises InvalidInput, naming ``field``, where the box is not finite or has no area."""
    values = (message.x, message.y, message.width, message.height)
    if not all(map(is_coordinate, values)) or message.width <= 0 or message.height <= 0:
        raise InvalidInput("a face box needs finite coordinates and a positive size", field=field)
    return Box(*values)


def box_to(box: Box) -> common_pb2.FaceBox:
    """The other way of :func:`box_from`."""
    return common_pb2.FaceBox(x=box.x, y=box.y, width=box.width, height=box.height)
