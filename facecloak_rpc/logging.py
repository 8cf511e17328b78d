"""Structured logs that hold nothing biometric and no user id in clear.

Log lines go to stderr: standard output belongs to the program's results.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sys
import threading
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from facecloak.users import User

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

# A safety net, not the rule: the rule is not to pass these at all.
_SECRET_KEYS = frozenset({"user_id", "photo", "photos", "mask", "embedding", "landmarks", "box", "key"})
_PLAIN = (str, int, float, bool, type(None))
_printing = threading.Lock()
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
        """Prints one line, whole."""
        try:
            with _printing:
                print(message, file=self._file, flush=True)
        except OSError:
            return

    log = debug = info = warn = warning = err = error = fatal = failure = critical = exception = msg


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
