"""What hostile files cost: processor seconds and memory of cloaking each, as the apply service does, in a process of
its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.hostile import hostile_files
from benchmarks.service import cpu_seconds_of

_SAMPLE_SECONDS = 0.02
_LONGEST_SECONDS = 300.0
# The whole of it takes one call; a caller's own deadline ends it much earlier.
_CHILD = """
import sys, time
from pathlib import Path
from benchmarks.worst_case import cloak_once
cloak_once(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def measure(repository: Path, *, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every file, or those named."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        small.write_bytes(_small())
        for name, make in hostile_files().items():
            if not names or name in names:
                path = Path(folder) / "hostile"
                data = make()
                path.write_bytes(data)
                rows.append({"file": name, "bytes": len(data), **_row(data, path, small, repository)})
                # A busy machine takes hours: what is done is seen.
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"worst_case": rows}


def _row(data: bytes, path: Path, small: Path, repository: Path) -> dict[str, Any]:
    from facecloak.errors import FaceCloakError
    from facecloak.photos.memory import estimated_peak_bytes, pixels_of

    try:
        pixels, told = pixels_of(data), estimated_peak_bytes(data)
    except FaceCloakError:
        pixels = told = 0
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), str(small), str(repository)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()  # it is ready
    tree = _Tree(child.pid)
    tree.look()
    before_cpu, before_memory = tree.cpu_seconds, tree.memory_bytes
    began = time.monotonic()
    child.stdin.write(b"\n")
    child.stdin.flush()
    os.set_blocking(child.stdout.fileno(), False)
    peak, line = before_memory, None
    while not line and time.monotonic() - began < _LONGEST_SECONDS:
        time.sleep(_SAMPLE_SECONDS)
        tree.look()
        peak = max(peak, tree.memory_bytes)
        line = child.stdout.readline()
    seconds = time.monotonic() - began
    answer = json.loads(line) if line else {"outcome": "still at work"}
    child.kill()
    child.wait()
    return {
        "megapixels": round(pixels / 1e6, 2),
        "outcome": answer["outcome"],
        "cpu_seconds": round(tree.cpu_seconds - before_cpu, 2),
        "wall_seconds": round(seconds, 2),
        "peak_mebibytes": round((max(peak, answer.get("peak_bytes", 0)) - before_memory) / 2**20),
        "budget_mebibytes": round((told + 4 * len(data)) / 2**20),
    }


class _Tree:
    """A process and all that it started: processor time, also of those that ended, and proportional memory."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._cpu: dict[int, float] = {}
        self.memory_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values())

    def look(self) -> None:
        memory, waiting = 0, [self._root]
        while waiting:
            process = waiting.pop()
            try:
                for task in Path(f"/proc/{process}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
                self._cpu[process] = cpu_seconds_of(process)
                memory += _proportional_bytes(process)
            except OSError:
                continue
        self.memory_bytes = memory


def _proportional_bytes(process: int) -> int:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _small() -> bytes:
    from benchmarks.hostile import picture, saved

    return saved(picture(640, 480), "PNG")


def cloak_once(path: Path, small: Path, repository: Path) -> None:
    """In the process that is measured: gets ready, waits for a line, cloaks, and says what came of it."""
    import cv2

    from benchmarks.service import some_mask
    from facecloak.cloaking.cloaker import Cloaker, MasksInMemory, Subject
    from facecloak.errors import FaceCloakError
    from facecloak.faces import ARCFACE_TEMPLATE, FaceFinder
    from facecloak.photos.decoding import DecoderPool
    from facecloak_rpc.process_memory import keep_little

    keep_little()
    cv2.setNumThreads(1)
    cloaker = Cloaker(FaceFinder.load(repository), MasksInMemory({"user": some_mask(moves=True)}))
    data = path.read_bytes()
    with DecoderPool(size=1):
        cloaker.cloak(small.read_bytes(), [Subject("user")])
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            # Where a face would be: what the work is that a hint leaves.
            hint = Subject("user", landmarks=ARCFACE_TEMPLATE.copy())
            outcome = str(cloaker.cloak(data, [hint]).subjects[0].outcome)
        except FaceCloakError as error:
            outcome = error.reason
        except Exception as error:  # noqa: BLE001 - a defect is a result, too
            outcome = f"DEFECT {type(error).__name__}"
        print(json.dumps({"outcome": outcome}), flush=True)
        time.sleep(60)
