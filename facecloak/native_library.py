"""The package's compiled part (native/, Rust), a library for ctypes.

The package works without it, slower: photos are decoded and encoded again. It is absent where FaceCloak was installed
from source on a machine without a Rust compiler; wheels carry it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

# That of native/src/lib.rs.
_INTERFACE = 4

log = logging.getLogger(__name__)


@functools.cache
def compiled_library() -> ctypes.CDLL | None:
    """The library, or None where it is absent or was built from other sources than these."""
    # Named for no Python since wheels are; before that, for one.
    paths = sorted((Path(__file__).parent / "photos").glob("_splice*.so"), key=lambda path: len(path.name))
    if not paths:
        return None
    library = ctypes.CDLL(str(paths[0]))
    found = library.splice_interface() if hasattr(library, "splice_interface") else 0
    if found != _INTERFACE:
        # Calling it would hand it structures that it does not know.
        log.warning("the compiled part has interface %d, not %d: install again", found, _INTERFACE)
        return None
    return library
