"""Structured logs that hold nothing biometric and no user id in clear.

Log lines go to stderr: standard output belongs to the program's results.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sys
import threading
from collections import deque
from contextlib import suppress
from itertools import groupby
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from facecloak.users import User

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

# A safety net, not the rule: the rule is not to pass these at all.
_SECRET_KEYS = frozenset({"user_id", "photo", "photos", "mask", "embedding", "landmarks", "box", "key"})
_PLAIN = (str, int, float, bool, type(None))
# Far more than wait while a disk or a log collector is slow; then the oldest are lost, and not memory.
_LINES_LIMIT = 10_000
_printing = threading.Lock()
_lines: deque[tuple[TextIO, str]] = deque(maxlen=_LINES_LIMIT)
_process_key = secrets.token_bytes(32)


def configure_logging(*, log_format: LogFormat, level: LogLevel) -> None:
    """Sets up structlog and the standard library's root logger for the whole process."""
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            drop_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # Looked up for every line: whoever replaces sys.stderr later gets the lines too.
        logger_factory=lambda *_: LineLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)
    # It warns of every attempt that is repeated; what came of them is said once, with what to do.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


class LineLogger:
    """Prints lines to a file, and loses them where it takes none (ENOSPC, EPIPE): a full disk or a log collector that
    is gone ends no call and no service."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        """Prints one line, whole. Where another thread prints, that one prints this line, too: hundreds of calls would
        else wait for each other's lines."""
        _lines.append((self._file, message))
        # Once more after the lock is free: a line may have come that its thread left to this one.
        while _lines and _printing.acquire(blocking=False):
            try:
                _print_waiting()
            finally:
                _printing.release()

    log = debug = info = warn = warning = err = error = fatal = failure = critical = exception = msg


def _print_waiting() -> None:
    waiting = []
    with suppress(IndexError):
        while True:
            waiting.append(_lines.popleft())
    for file, lines in groupby(waiting, key=lambda line: line[0]):
        with suppress(OSError):
            print(*(text for _, text in lines), sep="\n", file=file, flush=True)


def drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Structlog processor: replaces values under secret names, and values that could be pictures or vectors."""
    for name, value in event.items():
        if name in _SECRET_KEYS or (not isinstance(value, _PLAIN) and name not in {"exc_info", "exception"}):
            event[name] = "<withheld>"
    return event


def user_tag(user: User) -> str:
    """Returns a short keyed hash that tells users apart in one process's log and nothing else.

    The key is drawn at start and kept nowhere, so a log cannot be searched for a known user id.
    """
    return hashlib.blake2b(user.to_bytes(), key=_process_key, digest_size=6).hexdigest()
