"""Memory that this process and a Triton server on the same host share, so that tensors need not travel.

A region is made, registered with the server and unlinked at once: both keep it mapped, its name is gone, and neither a
crash nor a kill leaves anything behind in /dev/shm. What it holds are a person's aligned crops, so it is readable by
this user only; a server of another user cannot open it, and tensors travel by gRPC.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import structlog

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

FOLDER = "/dev/shm"
ALIGNMENT = 64
ROUND_BYTES = 4 << 20
"""Regions are multiples of this, so that calls of all recognizers can take turns with the same ones."""

MAX_REGIONS = 64
"""Calls at once that have a region; those beyond travel by gRPC."""

_REGISTER_SECONDS = 5.0
_log = structlog.get_logger("facecloak.triton")


@dataclass
class Region:
    """One piece of memory, used by one call at a time. ``offsets`` are those of the running call's tensors."""

    name: str
    size: int
    memory: mmap.mmap
    offsets: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def lay_out(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Gives each float32 tensor its place."""
        self.offsets, end = {}, 0
        for name, shape in shapes.items():
            self.offsets[name] = (end, shape)
            end += _padded(shape)

    def view(self, name: str) -> np.ndarray:
        """A tensor in its place; valid until the region is laid out anew."""
        offset, shape = self.offsets[name]
        return np.frombuffer(self.memory, np.float32, count=int(np.prod(shape)), offset=offset).reshape(shape)

    def place(self, name: str) -> tuple[str, int, int]:
        """(region, bytes, offset) as tritonclient wants them."""
        offset, shape = self.offsets[name]
        return self.name, int(np.prod(shape)) * 4, offset


class SharedMemory:
    """Lends regions to calls. Thread safe. Once the server cannot open one, there are none any more."""

    def __init__(self, client: InferenceServerClient, *, enabled: bool) -> None:
        self._client = client
        self._enabled = enabled
        self._idle: list[Region] = []
        self._lent = 0
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Whether regions are still to be had."""
        return self._enabled

    def borrow(self, shapes: Mapping[str, tuple[int, ...]]) -> Region | None:
        """A region laid out for these float32 tensors, or None where they must travel.

        Raises:
            InferenceServerException: the server could not be asked.
        """
        needed = sum(_padded(shape) for shape in shapes.values())
        with self._lock:
            if not self._enabled or self._lent >= MAX_REGIONS:
                return None
            self._lent += 1
            region = next((region for region in self._idle if region.size >= needed), None)
            if region is not None:
                self._idle.remove(region)
        if region is None:
            try:
                region = self._make(needed)
            finally:
                if region is None:
                    with self._lock:
                        self._lent -= 1
        if region is not None:
            region.lay_out(shapes)
        return region

    def give_back(self, region: Region, *, reusable: bool) -> None:
        """Ends a loan. A region that a server may still write to is not ``reusable`` and is let go."""
        with self._lock:
            self._lent -= 1
            if reusable and self._enabled:
                self._idle.append(region)

    def close(self) -> None:
        """Lets all regions go; the server is told, if it can be."""
        with self._lock:
            self._enabled, regions, self._idle = False, self._idle, []
        for region in regions:
            with contextlib.suppress(Exception):  # it may be gone, or be going
                self._client.unregister_system_shared_memory(region.name, client_timeout=1.0)

    def _make(self, needed: int) -> Region | None:
        from tritonclient.utils import InferenceServerException

        size = -(-needed // ROUND_BYTES) * ROUND_BYTES
        name = f"facecloak-{uuid.uuid4().hex}"
        try:
            with _linked(name, size) as memory:
                self._client.register_system_shared_memory(name, f"/{name}", size, client_timeout=_REGISTER_SECONDS)
        except OSError as error:  # no /dev/shm, or it is full
            self._give_up(str(error.strerror))
            return None
        except InferenceServerException as error:
            if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                raise  # says nothing about shared memory
            self._give_up("the server cannot open it")
            return None
        return Region(name, size, memory)

    def _give_up(self, why: str) -> None:
        with self._lock:
            self._enabled = False
            self._idle.clear()
        _log.info("no shared memory with Triton: tensors travel by gRPC", why=why)


@contextlib.contextmanager
def _linked(name: str, size: int) -> Iterator[mmap.mmap]:
    """A new region that has its name only within the block. Raises OSError."""
    path = os.path.join(FOLDER, name)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # A file in memory is sparse, and touching a page that the file system has no room for kills the process: so
        # take the room now.
        os.posix_fallocate(handle, 0, size)
        yield mmap.mmap(handle, size)
    finally:
        os.close(handle)
        os.unlink(path)


def _padded(shape: tuple[int, ...]) -> int:
    size = int(np.prod(shape)) * 4
    return -(-size // ALIGNMENT) * ALIGNMENT
