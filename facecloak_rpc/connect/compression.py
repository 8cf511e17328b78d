"""Requests that come in gzip, as some clients send them unless they are told otherwise. Answers are never compressed: a
photo does not shrink."""

from __future__ import annotations

import zlib

from facecloak.errors import InvalidInput

ENCODINGS = ("identity", "gzip")
"""What requests may come in."""
_GZIP = 16 + zlib.MAX_WBITS


def unzipped(data: bytes, *, limit: int) -> bytes:
    """What was compressed, of which no more than ``limit`` + 1 bytes are ever made.

    Raises:
        InvalidInput: it is more, or no gzip file (RFC 1952), or not exactly one.
    """
    reader = zlib.decompressobj(_GZIP)
    try:
        content = reader.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidInput("the message is no gzip", field="request") from error
    if len(content) > limit:
        raise InvalidInput(f"a message has at most {limit} bytes", field="request", limit=limit)
    if not reader.eof or reader.unused_data:
        raise InvalidInput("the message is no gzip", field="request")
    return content
