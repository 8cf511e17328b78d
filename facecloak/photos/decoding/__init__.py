"""Where the decoders that are not ours run: in this process, or in one that has limits and can be stopped.

A codec of :mod:`facecloak.photos` calls :func:`run_decoder` with a function of its own that turns bytes into samples,
instead of calling it. A service installs a :class:`DecoderPool`; without one the function runs right there.
"""

from facecloak.photos.decoding.pool import DecoderPool, can_isolate
from facecloak.photos.decoding.runner import DecoderFailed, DecoderUnavailable, run_decoder

__all__ = ["DecoderFailed", "DecoderPool", "DecoderUnavailable", "can_isolate", "run_decoder"]
