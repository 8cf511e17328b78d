"""The process that decoders are forks of, and what each of them does: `python -m facecloak.photos.decoding.process FD`.

A decoder trusts nobody's photo and is trusted by nobody: it inherits no secret, opens no file, starts no process, and
has for each photo so much memory and processor time; beyond either it ends, and its caller hears that.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from facecloak.photos.errors import PhotoRefused

_MODULES = "facecloak.photos."
_MESSAGE_BYTES = 4096
# What Python and the libraries add to one photo's memory: code that is loaded late, threads, tables.
_BESIDE = 96 * 2**20
_FILES = 32
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
# The first whom the kernel takes where memory runs out, before the service.
_OOM_SCORE = "1000"


def main() -> None:
    """Forks a decoder for every channel that comes, until whoever sends them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the decoders
    control = socket.socket(fileno=int(sys.argv[1]))
    _load()
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        if not message:
            return
        number = os.fork()
        if not number:
            control.close()
            _decode(socket.socket(fileno=descriptors[0]))
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(number).encode())


def _load() -> None:
    """All that a decoder may need, so that a fork has it. No thread may be started here."""
    import cv2

    import facecloak.photos  # noqa: F401

    cv2.setNumThreads(0)
    assert threading.active_count() == 1


def _decode(channel: socket.socket) -> NoReturn:
    """Serves one channel until it is closed."""
    try:
        _confine()
        libc = ctypes.CDLL(None)
        while True:
            message, descriptors, _flags, _address = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
            if not message:
                os._exit(0)
            answer = _answer(json.loads(message), *descriptors)
            os.close(descriptors[1])  # before the answer: whoever has it may count on that
            channel.send(json.dumps(answer).encode())
            libc.malloc_trim(0)
    finally:
        os._exit(1)


def _confine() -> None:
    """What no photo needs is taken away for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        libc.prctl(option, value, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _say_expendable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))


def _say_expendable() -> None:
    with suppress(OSError):  # a container without /proc, or one that forbids it
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def _answer(job: dict[str, Any], file: int, samples: int) -> dict[str, Any]:
    with mmap.mmap(file, max(job["data_bytes"], 1), prot=mmap.PROT_READ) as mapped:
        data = mapped[: job["data_bytes"]]
    os.close(file)  # its memory goes with the last who has it open
    decoder = _named(job["decoder"])
    _limit_memory(job["memory_bytes"] + 2 * job["samples_bytes"] + 2 * len(data))
    # Its default action ends the process, whatever a library does at that moment.
    signal.setitimer(signal.ITIMER_PROF, job["cpu_seconds"])
    try:
        decoded = decoder(data)
        if decoded.nbytes > job["samples_bytes"]:
            return {"error": "more samples than the header states"}
        with mmap.mmap(samples, job["samples_bytes"]) as room:
            np.frombuffer(room, decoded.dtype, count=decoded.size).reshape(decoded.shape)[...] = decoded
    except PhotoRefused as error:
        return {"error": type(error).__name__, "message": error.public_message}
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the photo is at fault
        return {"error": type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"shape": list(decoded.shape), "dtype": str(decoded.dtype)}


def _named(name: str) -> Callable[[bytes], np.ndarray]:
    module, _, function = name.partition(":")
    if not module.startswith(_MODULES):
        raise ValueError("no decoder of ours")
    decoder: Callable[[bytes], np.ndarray] = getattr(importlib.import_module(module), function)
    return decoder


def _limit_memory(more_bytes: int) -> None:
    """From now on so much more address space than there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * mmap.PAGESIZE + more_bytes + _BESIDE
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
