"""A photo's file, read no further than a photo may go."""

from __future__ import annotations

import os
from pathlib import Path

from facecloak.photos.limits import DEFAULT_LIMITS, PhotoLimits


def read_photo(photo: bytes | str | os.PathLike[str], *, limits: PhotoLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a photo that is given by them or by the path of its file.

    Raises:
        PhotoTooLarge: more bytes than ``limits`` allow.
        OSError: the file cannot be read.
    """
    if isinstance(photo, bytes):
        data = photo
    else:
        with Path(photo).open("rb") as file:
            # What may be a pipe or a device has no size to look at first.
            data = file.read(limits.max_bytes + 1)
    limits.check_bytes(len(data))
    return data
