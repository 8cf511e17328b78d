"""Decoders in processes of their own: limited in memory and processor time, and killed when nobody waits any more."""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facecloak.call_context import interruption
from facecloak.photos import errors
from facecloak.photos.decoding.runner import (
    Decoder,
    DecoderFailed,
    DecoderLimits,
    DecoderUnavailable,
    install,
    uninstall,
)

LOOK_SECONDS = 0.05
"""How often it is looked whether somebody still waits for a photo."""
# Beyond the processor time that a photo may take: a machine may be busy with others.
_WALL_FACTOR, _WALL_SECONDS = 10.0, 30.0
_MESSAGE_BYTES = 4096
# How long a new decoder is waited for: a fork takes milliseconds, and loading the libraries before the first a second.
_FORK_SECONDS, _LOAD_SECONDS = 3.0, 30.0
_KINDS: dict[str, np.dtype[Any]] = {"uint8": np.dtype(np.uint8), "uint16": np.dtype(np.uint16)}
_PARENT = "facecloak.photos.decoding.process"
# Nothing of the service's environment: it holds the key of the masks.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


def can_isolate() -> bool:
    """Whether this system has what a pool needs (Linux 5.3)."""
    try:
        for descriptor in (os.memfd_create("facecloak", os.MFD_CLOEXEC), os.pidfd_open(os.getpid())):
            os.close(descriptor)
    except (AttributeError, OSError):  # another system, or a container that forbids it
        return False
    return True


class _DecoderEnded(DecoderFailed):
    """A decoder's process ended without an answer: broken by its photo, or killed by somebody else."""


@dataclass
class _Process:
    """One decoder: a process that waits for photos."""

    channel: socket.socket
    handle: int
    """Of the process (pidfd): never another's, as a number might be."""

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Ends it, once it has nothing to do."""
        self.channel.close()
        os.close(self.handle)


class DecoderPool:
    """At most ``size`` decoders at once, made when they are needed and used again. Thread safe; close it after use.

    They are forks of one process that has loaded the libraries and seen no photo. Samples come back in memory that
    both share, so they are not copied.
    """

    def __init__(self, *, size: int) -> None:
        """Raises OSError where this system cannot (:func:`can_isolate`)."""
        if not can_isolate():
            raise OSError("decoders of their own need Linux 5.3 or later")
        self._places = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._parent: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = False
        self.killed = 0
        """Processes that were ended before their photo was decoded."""

    def __enter__(self) -> DecoderPool:
        """See :meth:`start`."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self) -> None:
        """Lets it run this process's decoders, and has their libraries loaded; returns at once.

        Raises OSError where there is no memory or process for that.
        """
        with self._lock:
            self._started_parent()
        install(self)

    def close(self) -> None:
        """Lets decoders run in this process again, and ends those that have nothing to do; the others end with their
        photos."""
        uninstall(self)
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            parent, self._parent = self._parent, None
        for process in idle:
            process.close()
        if parent is not None:
            parent[1].close()
            parent[0].wait()

    def __call__(self, decoder: Decoder, data: bytes, limits: DecoderLimits) -> np.ndarray:
        """See :func:`facecloak.photos.decoding.run_decoder`."""
        check = interruption.get()
        check()
        while not self._places.acquire(timeout=LOOK_SECONDS):
            check()
        began = time.monotonic()
        try:
            try:
                with ExitStack() as held:
                    return self._decoded(decoder, data, limits, held=held)
            except _DecoderEnded:
                # Others may have killed it, for lack of memory or with its parent. Not again what used up its time.
                if time.monotonic() - began > limits.cpu_seconds / 2:
                    raise
                self._end_idle()  # what ended it may be about to end them
                with ExitStack() as held:
                    return self._decoded(decoder, data, limits, held=held)
        finally:
            self._places.release()

    def _decoded(self, decoder: Decoder, data: bytes, limits: DecoderLimits, *, held: ExitStack) -> np.ndarray:
        room = max(limits.samples_bytes, 1)
        file, samples = _shared("photo", len(data) or 1, held), _shared("samples", room, held)
        _write(file, data)
        job = {
            "decoder": f"{decoder.__module__}:{decoder.__qualname__}",
            "data_bytes": len(data),
            "samples_bytes": room,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
        }
        process = self._begun(json.dumps(job).encode(), file, samples)
        try:
            answer = _answer(process, seconds=_WALL_SECONDS + _WALL_FACTOR * limits.cpu_seconds)
        except BaseException as error:
            self.killed += 1
            process.kill()
            if isinstance(error, OSError | ValueError):
                kind = _DecoderEnded if isinstance(error, ConnectionError) else DecoderFailed
                raise kind("the decoder broke down, or needed more than a photo of this size does") from error
            raise
        self._put_back(process)
        if "error" in answer:
            raise _error_of(answer)
        return _array(samples, answer, room=room)

    def _begun(self, job: bytes, file: int, samples: int) -> _Process:
        """A process that has the job. One that was idle may have been killed by others: that is no fault of a photo."""
        while True:
            process, is_new = self._taken()
            try:
                socket.send_fds(process.channel, [job], [file, samples])
                return process
            except OSError as error:
                process.kill()
                if is_new:
                    raise DecoderUnavailable("photos cannot be decoded for now") from error

    def _taken(self) -> tuple[_Process, bool]:
        """A process, and whether it is new."""
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
            for _ in range(2):  # its parent may have been killed
                channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                try:
                    _, control = self._started_parent()
                    with theirs:
                        socket.send_fds(control, [b"fork"], [theirs.fileno()])
                    number = int(control.recv(_MESSAGE_BYTES))  # late: it is stopped, and is ended like a dead one
                    control.settimeout(_FORK_SECONDS)
                    return _Process(channel, os.pidfd_open(number)), True
                except (OSError, ValueError):
                    channel.close()
                    self._end_parent()
        raise DecoderUnavailable("photos cannot be decoded for now")

    def _end_parent(self) -> None:
        """Called with the lock held."""
        if self._parent is not None:
            process, control = self._parent
            control.close()
            process.kill()
            process.wait()
            self._parent = None

    def _end_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.close()

    def _started_parent(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Called with the lock held."""
        if self._parent is None:
            control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
            # Where this package lies, however it was found.
            root = str(Path(__file__).resolve().parents[3])
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", _PARENT, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            control.settimeout(_LOAD_SECONDS)
            self._parent = (process, control)
        return self._parent


def _answer(process: _Process, *, seconds: float) -> dict[str, Any]:
    """Raises OSError when the process ends or is late; and what the call's own check raises."""
    check = interruption.get()
    poll = select.poll()
    poll.register(process.channel, select.POLLIN)
    for _ in range(round(seconds / LOOK_SECONDS)):
        if poll.poll(LOOK_SECONDS * 1000):
            message = process.channel.recv(_MESSAGE_BYTES)
            if not message:
                raise ConnectionResetError("the decoder ended")
            answer = json.loads(message)
            if not isinstance(answer, dict):
                raise ConnectionResetError("the decoder does not answer as it should")
            return answer
        check()
    raise TimeoutError("the decoder does not end")


def _error_of(answer: dict[str, Any]) -> Exception:
    kind = getattr(errors, str(answer["error"]), None)
    if isinstance(kind, type) and issubclass(kind, errors.PhotoRefused):
        return kind(str(answer.get("message", ""))[:500])
    return DecoderFailed(str(answer["error"])[:100])


def _array(samples: int, answer: dict[str, Any], *, room: int) -> np.ndarray:
    """The samples, of a shape that the decoder's process says and that is not believed unseen."""
    kind = _KINDS.get(str(answer.get("dtype")))
    shape = [int(side) for side in answer.get("shape", ())]
    count = math.prod(shape)
    if kind is None or not 2 <= len(shape) <= 3 or min(shape) < 1 or count * kind.itemsize > room:
        raise DecoderFailed("the decoder does not answer as it should")
    return np.frombuffer(mmap.mmap(samples, room), kind, count=count).reshape(shape)


def _shared(name: str, size: int, held: ExitStack) -> int:
    descriptor = os.memfd_create(f"facecloak-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    held.callback(os.close, descriptor)
    os.ftruncate(descriptor, size)
    # Who reads beyond the end of a file that was cut short dies of it.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
