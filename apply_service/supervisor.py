"""One command, one process a core: workers that share a port, restarted when they die and drained when they are told.

Python runs one thread at a time, so one process does not fill a machine's cores. The kernel spreads new connections
over the processes that listen on the same port (SO_REUSEPORT, Linux 3.9); a client with one connection reaches one of
them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import structlog

from apply_service.settings import ApplySettings
from facecloak_rpc.server import AddressInUse

# Workers that die at once do so for a reason that starting them again does not mend.
_RESTARTS_LIMIT = 5
_RESTARTS_SECONDS = 60.0
_RESTART_PAUSE_SECONDS = 1.0
# Beyond the grace that the workers have themselves.
_KILL_AFTER_SECONDS = 10.0
_log = structlog.get_logger("facecloak.supervisor")


def supervise(settings: ApplySettings) -> int:
    """Runs ``settings.worker_count`` servers on one port until SIGTERM or SIGINT. Returns the exit status: 0, or 1
    where workers kept dying.

    Raises:
        AddressInUse: the port is taken.
    """
    with _reserved_port(settings.host, settings.port) as reserved:
        port = reserved.getsockname()[1]
        return _Supervisor(settings.model_copy(update={"port": port})).run()


class _Supervisor:
    def __init__(self, settings: ApplySettings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, SpawnProcess] = {}
        self._deaths: deque[float] = deque(maxlen=_RESTARTS_LIMIT)
        self._wake_read, self._wake_write = os.pipe()
        self._signals = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for index in range(self._settings.worker_count):
            self._start(index)
        _log.info("supervising", target=f"{self._settings.host}:{self._settings.port}", processes=len(self._workers))
        status = 0
        while not self._signals:
            wait([self._wake_read, *(worker.sentinel for worker in self._workers.values())], timeout=1.0)
            if not self._signals and not self._restart_dead():
                status = 1
                break
        self._stop()
        return status

    def _start(self, index: int) -> None:
        worker = self._context.Process(target=_work, args=(self._settings, index, os.getpid()), name=f"worker-{index}")
        worker.start()
        self._workers[index] = worker

    def _restart_dead(self) -> bool:
        """Starts dead workers again. False where they die too often."""
        for index, worker in list(self._workers.items()):
            if worker.is_alive():
                continue
            now = time.monotonic()
            _log.error("worker died", worker=index, exit_code=worker.exitcode)
            self._deaths.append(now)
            if len(self._deaths) == _RESTARTS_LIMIT and now - self._deaths[0] < _RESTARTS_SECONDS:
                _log.error("workers keep dying", within_seconds=_RESTARTS_SECONDS)
                return False
            wait([self._wake_read], timeout=_RESTART_PAUSE_SECONDS)
            if self._signals:
                return True
            self._start(index)
        return True

    def _stop(self) -> None:
        """Lets all workers drain; a second signal hurries them, and the end of all patience kills them."""
        self._tell(signal.SIGTERM)
        told = 1
        ends = time.monotonic() + self._settings.grace_seconds + _KILL_AFTER_SECONDS
        while any(worker.is_alive() for worker in self._workers.values()) and time.monotonic() < ends:
            wait([worker.sentinel for worker in self._workers.values() if worker.is_alive()], timeout=0.2)
            if self._signals > told:
                told = self._signals
                self._tell(signal.SIGTERM)
        for worker in self._workers.values():
            if worker.is_alive():
                worker.kill()
            worker.join()
        _log.info("all stopped")

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, number)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        os.write(self._wake_write, b"\0")


def _work(settings: ApplySettings, index: int, supervisor: int) -> None:
    """One worker: a whole server of its own."""
    # A group of its own: Ctrl-C reaches the supervisor alone, which then tells the workers, once.
    os.setpgrp()
    _end_with(supervisor)
    from apply_service.server import build_apply_server
    from facecloak_rpc.logging import configure_logging

    configure_logging(log_format=settings.log_format, level=settings.log_level)
    structlog.contextvars.bind_contextvars(worker=index)
    raise SystemExit(build_apply_server(settings.for_worker(index), share_port=True).run_until_signal())


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
        raise AddressInUse("the server cannot listen at this address", address=f"{host}:{port}") from error
    return reserved
