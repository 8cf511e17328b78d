"""Giving memory back to the system: glibc keeps what was freed, for each of its arenas, and a service has many threads.

The settings are glibc's (mallopt(3), malloc_trim(3)); other C libraries keep their own ways.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from typing import Any

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Photos and messages lie in mappings of their own, which end with them. By itself the threshold grows to the largest
# one freed, up to 32 MiB, and those below stay in the arenas.
_MMAP_BYTES = 2**20
_TRIM_BYTES = 8 * 2**20
_ARENAS = 4
# What many small pieces leave behind is given back after calls with large messages, no more often than this.
LARGE_BYTES = 4 * 2**20
_PAUSE_SECONDS = 1.0


def keep_little() -> None:
    """Has malloc give back what is freed. For a process of its own, at its start."""
    libc = _glibc()
    if libc is not None:
        for option, value in (
            (_M_ARENA_MAX, _ARENAS),
            (_M_MMAP_THRESHOLD, _MMAP_BYTES),
            (_M_TRIM_THRESHOLD, _TRIM_BYTES),
        ):
            libc.mallopt(option, value)


def leave_out_of_collections() -> None:
    """Has the garbage collector no longer look through what there is now: modules, models and settings, which stay.
    Each look takes a tenth of a second, in which no thread goes on. For a process of its own, once it is built."""
    gc.collect()
    gc.freeze()


class MemoryTrimmer:
    """Gives freed memory back after large calls, in a thread of its own."""

    def __init__(self) -> None:
        self._libc = _glibc()
        self._wanted = threading.Event()
        self._closed = False
        if self._libc is not None:
            threading.Thread(target=self._run, name="memory-trimmer", daemon=True).start()

    def freed(self, size: int) -> None:
        """A message of so many bytes is done with."""
        if size >= LARGE_BYTES:
            self._wanted.set()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._wanted.set()

    def _run(self) -> None:
        while not self._closed:
            self._wanted.wait()
            time.sleep(_PAUSE_SECONDS / 4)  # gRPC frees after it has told
            self._wanted.clear()
            self._libc.malloc_trim(0)
            time.sleep(_PAUSE_SECONDS)


def _glibc() -> Any:
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
