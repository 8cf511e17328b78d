"""Trying again: how long, with which waits, and what ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from facecloak.call_context import cancellation

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0
_NOTICE_SECONDS = 0.1
"""In how long a wait notices a cancellation."""


class TryAgain(Exception):
    """A call failed in a way that may pass by itself; its cause is the client's exception."""


def retried(work: Callable[[], T], *, seconds: float, closing: threading.Event) -> T:
    """Does ``work``, again and again while it raises :class:`TryAgain`, which it raises at last.

    Args:
        seconds: after which it is not tried again.
        closing: ends it once set; so does :data:`facecloak.call_context.cancellation`.
    """
    from tenacity import Retrying, retry_if_exception_type
    from tenacity import wait_random_exponential as wait_longer_each_time

    is_cancelled = cancellation.get()

    def is_over(state: RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) >= seconds or closing.is_set() or is_cancelled()

    def sleep(wanted: float) -> None:
        end = time.monotonic() + wanted
        while (left := end - time.monotonic()) > 0 and not is_cancelled():
            if closing.wait(min(left, _NOTICE_SECONDS)):
                return

    retrying = Retrying(
        retry=retry_if_exception_type(TryAgain),
        stop=is_over,
        wait=wait_longer_each_time(_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
        sleep=sleep,
        reraise=True,
    )
    return retrying(work)
