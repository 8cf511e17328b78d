"""Reading HTTP requests within a time and a size: nothing of a body is read that is too large, and none for ever."""

from __future__ import annotations

import io
import re
import socket
import time
from email.message import Message as Headers
from typing import BinaryIO

_LINE_LIMIT = 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(;[^\r\n]*)?\r\n")


class TimedReader(io.RawIOBase):
    """A socket's bytes until :attr:`ends`, by the monotonic clock, whatever trickles in."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.ends = time.monotonic()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Raises TimeoutError."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class BodyRefused(Exception):
    """A body that is not read. Attributes: the HTTP status, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_body(headers: Headers, *, limit: int) -> int | None:
    """The body's length; None where it comes in chunks. Raises BodyRefused before anything of it is read."""
    lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if encodings:
        # Both at once is how requests are smuggled (RFC 9112, section 6.1).
        if lengths or [encoding.strip().lower() for encoding in encodings] != ["chunked"]:
            raise BodyRefused(400, "a body has a length or comes in chunks")
        return None
    if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,12}", lengths[0]):
        raise BodyRefused(411, "the body's length is missing")
    length = int(lengths[0])
    if length > limit:
        raise BodyRefused(413, f"a message has at most {limit} bytes")
    return length


def read_body(reader: BinaryIO, length: int | None, *, limit: int) -> bytes | None:
    """The whole body; None where the client ended before it. Raises BodyRefused for one that grows too large."""
    if length is not None:
        body = reader.read(length)
        return body if len(body) == length else None
    parts: list[bytes] = []
    size = 0
    while True:
        head = _CHUNK_SIZE.fullmatch(reader.readline(_LINE_LIMIT))
        if head is None:
            return None
        count = int(head[1], 16)
        size += count
        if size > limit:
            raise BodyRefused(413, f"a message has at most {limit} bytes")
        part = reader.read(count)
        if len(part) != count:
            return None
        parts.append(part)
        if count == 0:
            while (line := reader.readline(_LINE_LIMIT)) not in (b"\r\n", b""):  # trailers, which nobody asked for
                size += len(line)
                if size > limit:
                    return None
            return b"".join(parts)
        if reader.readline(2) != b"\r\n":
            return None
