"""Where a server's photos are decoded: in processes that can be limited and stopped, where the system has them."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from facecloak.photos.decoding import DecoderPool, can_isolate
from facecloak_rpc.settings import RpcSettings

_log = structlog.get_logger("facecloak.decoders")


def open_decoders(settings: RpcSettings, *, size: int) -> Callable[[], None]:
    """Lets at most ``size`` processes decode this process's photos, if the settings want that. Returns what ends
    them."""
    if not settings.isolate_decoders:
        return lambda: None
    if not can_isolate():
        _log.warning("photos are decoded in the service's own process", advice="Linux 5.3 or later can isolate them")
        return lambda: None
    pool = DecoderPool(size=size)
    pool.start()
    return pool.close
