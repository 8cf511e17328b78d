"""One command, one process a core: workers that share a port, are replaced when they die or hang, and drain when told.

Python runs one thread at a time, so one process does not fill a machine's cores. The kernel spreads new connections
over the processes that listen on the same port (SO_REUSEPORT, Linux 3.9); a client with one connection reaches one of
them.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import structlog

from apply_service.settings import ApplySettings
from facecloak_rpc.addresses import host_and_port
from facecloak_rpc.server import AddressInUse

# Workers none of which ever came up die for a reason that starting them again does not mend.
_FAILED_STARTS_LIMIT = 5
# A worker that dies is started again after a pause that doubles, and begins anew once a worker has lived this long.
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
# A worker beats this often; one that has missed this long is stopped or hung, and takes calls that it never answers.
_BEAT_SECONDS = 0.5
_MISSED_SECONDS = 4.0
# Loading libraries and models takes seconds; minutes on a machine whose disk is busy.
_START_SECONDS = 180.0
# Beyond the grace that the workers have themselves.
_KILL_AFTER_SECONDS = 10.0
_log = structlog.get_logger("facecloak.supervisor")


def supervise(settings: ApplySettings) -> int:
    """Runs ``settings.worker_count`` servers on one port until SIGTERM or SIGINT. Returns the exit status: 0, or 1
    where no worker came up.

    Raises:
        AddressInUse: the port is taken.
    """
    with _reserved_port(settings.host, settings.port) as reserved:
        port = reserved.getsockname()[1]
        return _Supervisor(settings.model_copy(update={"port": port})).run()


@dataclass
class _Worker:
    """One worker's process, and what it says of itself in memory that both share."""

    process: SpawnProcess
    beat: ctypes.c_double
    """Monotonic clock at its last beat, seconds; 0 until it is built and serves."""
    pause_seconds: float
    """How long to wait before its successor is started."""
    started: float = field(default_factory=time.monotonic)

    @property
    def has_served(self) -> bool:
        return self.beat.value > 0

    def is_hung(self, now: float) -> bool:
        """Whether it lives and gives no sign of it; one that starts has more time for its first."""
        if not self.process.is_alive():
            return False
        return now - self.beat.value > _MISSED_SECONDS if self.has_served else now - self.started > _START_SECONDS


class _Supervisor:
    def __init__(self, settings: ApplySettings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, _Worker] = {}
        self._due: dict[int, tuple[float, float]] = {}  # by worker: when to start its successor, and its pause
        self._failed_starts = 0
        self._any_served = False
        self._wake_read, self._wake_write = os.pipe()
        self._signals = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for index in range(self._settings.worker_count):
            self._start(index, pause_seconds=_FIRST_PAUSE_SECONDS)
        _log.info(
            "supervising", target=host_and_port(self._settings.host, self._settings.port), processes=len(self._workers)
        )
        status, looked = 0, time.monotonic()
        while not self._signals:
            wait(
                [self._wake_read, *(worker.process.sentinel for worker in self._workers.values())],
                timeout=_BEAT_SECONDS,
            )
            now = time.monotonic()
            # Where this process itself was held up, the workers may have been, too.
            if now - looked < _MISSED_SECONDS / 2:
                self._kill_hung(now)
            looked = now
            self._replace_dead(now)
            if self._failed_starts >= _FAILED_STARTS_LIMIT and not self._any_served:
                _log.error("no worker comes up", starts=self._failed_starts)
                status = 1
                break
        self._stop()
        return status

    def _start(self, index: int, *, pause_seconds: float) -> None:
        beat = self._context.RawValue(ctypes.c_double, 0.0)
        arguments = (self._settings, index, os.getpid(), beat)
        process = self._context.Process(target=_work, args=arguments, name=f"worker-{index}")
        process.start()
        self._workers[index] = _Worker(process, beat, pause_seconds)

    def _kill_hung(self, now: float) -> None:
        for index, worker in self._workers.items():
            if worker.is_hung(now):
                _log.error(
                    "worker hangs", worker=index, silent_seconds=round(now - (worker.beat.value or worker.started), 1)
                )
                worker.process.kill()  # also ends one that is stopped
                worker.process.join(_BEAT_SECONDS)

    def _replace_dead(self, now: float) -> None:
        for index, worker in list(self._workers.items()):
            self._any_served = self._any_served or worker.has_served
            if worker.process.is_alive():
                continue
            _log.error("worker died", worker=index, exit_code=worker.process.exitcode)
            del self._workers[index]
            self._failed_starts = 0 if worker.has_served else self._failed_starts + 1
            settled = now - worker.started > _SETTLED_SECONDS
            pause = _FIRST_PAUSE_SECONDS if settled else worker.pause_seconds
            self._due[index] = (now + pause, min(2 * pause, _LONGEST_PAUSE_SECONDS))
        for index, (when, pause) in list(self._due.items()):
            if now >= when:
                del self._due[index]
                self._start(index, pause_seconds=pause)

    def _stop(self) -> None:
        """Lets all workers drain; a second signal hurries them, and the end of all patience kills them."""
        self._tell(signal.SIGTERM)
        told = 1
        ends = time.monotonic() + self._settings.grace_seconds + _KILL_AFTER_SECONDS
        processes = [worker.process for worker in self._workers.values()]
        while any(process.is_alive() for process in processes) and time.monotonic() < ends:
            wait([process.sentinel for process in processes if process.is_alive()], timeout=0.2)
            if self._signals > told:
                told = self._signals
                self._tell(signal.SIGTERM)
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()
        _log.info("all stopped")

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.process.is_alive() and worker.process.pid is not None:
                os.kill(worker.process.pid, number)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        os.write(self._wake_write, b"\0")


def _work(settings: ApplySettings, index: int, supervisor: int, beat: ctypes.c_double) -> None:
    """One worker: a whole server of its own."""
    # A group of its own: Ctrl-C reaches the supervisor alone, which then tells the workers, once.
    os.setpgrp()
    _end_with(supervisor)
    from apply_service.server import build_apply_server
    from facecloak_rpc.logging import configure_logging

    configure_logging(log_format=settings.log_format, level=settings.log_level)
    structlog.contextvars.bind_contextvars(worker=index)
    server = build_apply_server(settings.for_worker(index), share_port=True)
    threading.Thread(target=_beat, args=(beat,), name="beat", daemon=True).start()
    raise SystemExit(server.run_until_signal())


def _beat(beat: ctypes.c_double) -> None:
    """Says again and again that this process runs. Linux has one monotonic clock for all processes."""
    while True:
        beat.value = time.monotonic()
        time.sleep(_BEAT_SECONDS)


def _end_with(supervisor: int) -> None:
    """Has this process drain and end once the supervisor is gone, however it went."""
    threading.Thread(target=_watch_parent, args=(supervisor,), name="watch-parent", daemon=True).start()


def _watch_parent(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _reserved_port(host: str, port: int) -> socket.socket:
    """A socket that holds the port for the workers. It does not listen, so no connection is ever given to it."""
    address = (host, port)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        if port:
            # Without sharing first: another server on this port must be an error, and not a partner.
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
        reserved = socket.socket(family, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise AddressInUse("the server cannot listen at this address", address=host_and_port(host, port)) from error
    return reserved
