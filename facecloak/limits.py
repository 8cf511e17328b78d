"""The limits that services, stores and library share: one place for each rule about what comes from outside.

What only one part bounds stays with that part.
"""

from __future__ import annotations

import re
import unicodedata

from facecloak.errors import InvalidInput

MAX_USER_ID_BYTES = 256
"""Longest user id, bytes of UTF-8."""

MAX_SUBJECTS = 64
"""Most subjects a photo: as many faces as the finder returns."""

MAX_ENROLLMENT_PHOTOS = 16
"""Most photos that one enrollment learns from."""

MAX_PHOTO_BYTES = 32 * 2**20
"""Largest photo file. A 48-megapixel camera's JPEG has 10 to 25 MB."""

MAX_PHOTO_PIXELS = 64 * 2**20
"""Most pixels of a photo, 67 million: photos of 48- and 64-megapixel phones pass, and 100 megapixels do not."""

MAX_PHOTO_SIDE_PX = 16_384
"""Longest side of a photo: WebP's own limit (16,383) rounded up; wide panoramas pass."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class InvalidUserId(InvalidInput):
    """A user id that is empty, too long, not text, or holds characters that cannot be seen."""

    reason = "INVALID_USER_ID"


def check_user_id(user_id: str, *, field: str = "user_id") -> None:
    """Raises :class:`InvalidUserId` unless it is 1 to 256 bytes of UTF-8 without control, format, private or unassigned
    characters.

    Args:
        field: the request's field that it came in, for the error.
    """
    try:
        size = len(user_id.encode())
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidUserId("a user id is text", field=field) from error
    if not 1 <= size <= MAX_USER_ID_BYTES:
        raise InvalidUserId(
            f"a user id has 1 to {MAX_USER_ID_BYTES} bytes", field=field, max_bytes=MAX_USER_ID_BYTES, bytes=size
        )
    # Category C: two ids that look alike must not differ by what nobody can see.
    if any(unicodedata.category(character).startswith("C") for character in user_id):
        raise InvalidUserId("a user id has printable characters only", field=field)


def is_request_id(text: str) -> bool:
    """Whether it can name a call: 1 to 64 characters of A-Z a-z 0-9 . _ -"""
    return _REQUEST_ID.fullmatch(text) is not None


def check_request_id(request_id: str) -> None:
    """Raises InvalidInput unless it :func:`is_request_id`, or is empty: a caller need not name a call."""
    if request_id and not is_request_id(request_id):
        raise InvalidInput("a request id has 1 to 64 characters of A-Z a-z 0-9 . _ -", field="request_id")
