"""Mutated photos through the splice parser and through a running apply service: `python -m benchmarks.fuzz`.

Passed is: no crash (the process is there at the end), no defect, no call that takes more than a second of the
processor, memory within bounds. Wall time is written down beside it: on a shared machine it tells of the neighbors.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.mutations import jpeg_seeds, mutated, other_seeds


class Wave:
    """A placement that covers any part of a photo with levels that reach every coefficient, and in two of three photos
    moves every pixel of it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._corner = rng.random(4)
        self.reach_px = float(rng.choice([0.0, 2.5, 40.0]))
        self.overreach_px = self.reach_px or None

    def bounds(self, *, width: int, height: int) -> tuple[int, int, int, int]:
        """See facecloak.cloaking.placement.Placement."""
        xs, ys = np.sort(self._corner[:2] * width).astype(int), np.sort(self._corner[2:] * height).astype(int)
        return int(xs[0]), int(ys[0]), int(xs[1]) + 1, int(ys[1]) + 1

    def change(
        self,
        *,
        left: int,
        top: int,
        width: int,
        height: int,
        step: tuple[int, int] = (1, 1),
        colors: np.ndarray | None = None,
    ) -> np.ndarray:
        """See facecloak.cloaking.placement.Placement."""
        return self._rng.normal(0, 12, (height, width, 3 if colors is None else len(colors))).astype(np.float32)

    def nodes(self, *, step: tuple[int, int], colors: np.ndarray) -> None:
        """Told for each sample."""
        return None

    def displacement(
        self, *, left: int, top: int, width: int, height: int, step: tuple[int, int] = (1, 1)
    ) -> np.ndarray | None:
        """See facecloak.cloaking.placement.Placement."""
        if not self.reach_px:
            return None
        shift = self._rng.uniform(-self.reach_px, self.reach_px, (height, width, 2)).astype(np.float32)
        return shift / np.array(step, np.float32)


def fuzz_parser(*, runs: int, first: int = 0, verify_every: int = 50) -> dict[str, Any]:
    """Opens, looks at, and adds to mutated JPEGs. Every ``verify_every``-th spliced file is opened again."""
    from facecloak.photos import PhotoLimits, PhotoRefused
    from facecloak.photos.native_splice import CannotSplice
    from facecloak.photos.splice import JpegSplice

    seeds = jpeg_seeds()
    limits = PhotoLimits()
    outcomes: Counter[str] = Counter()
    slowest_wall, slowest_cpu, broken = 0.0, 0.0, []
    for run in range(first, first + runs):
        rng = np.random.default_rng(run)
        data = mutated(rng, seeds)
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            splice = JpegSplice(data, limits=limits)
            if run % 3 == 0:
                splice.thumbnail()
            if run % 2 == 0:
                scale = (1 + run // 2 % 8) / 8
                splice.look((0, 0, min(40, splice.width), min(40, splice.height)), smallest_scale=scale)
            # A header may claim 67 megapixels of a file of 2 KB; the change for these would be what takes the time.
            small = splice.width * splice.height < 10**6
            pieces = splice.added([Wave(rng)]) if small else None
            outcomes["spliced" if pieces else "unchanged"] += 1
            if pieces and outcomes["spliced"] % verify_every == 0:
                JpegSplice(pieces.joined(), limits=limits).thumbnail()
        except CannotSplice as error:
            outcomes[error.fault.name] += 1
            if error.fault.name == "DEFECT":
                broken.append(run)
        except PhotoRefused as error:
            outcomes[type(error).__name__] += 1
        slowest_cpu = max(slowest_cpu, time.thread_time() - cpu)
        slowest_wall = max(slowest_wall, time.perf_counter() - began)
    return {
        "runs": runs,
        "first_seed": first,
        "outcomes": dict(sorted(outcomes.items())),
        "defects": broken[:20],
        "slowest_cpu_seconds": round(slowest_cpu, 3),
        "slowest_wall_seconds": round(slowest_wall, 3),
        "peak_memory_mebibytes": _peak_mebibytes(os.getpid()),
    }


def fuzz_service(*, runs: int, repository: Path, first: int = 0) -> dict[str, Any]:
    """Sends mutated photos of all formats to a server of its own process, with and without hints."""
    import grpc

    from benchmarks.service import cpu_seconds_of, running_service
    from facecloak.v1 import apply_pb2, apply_pb2_grpc

    seeds = jpeg_seeds() * 3 + other_seeds()
    outcomes: Counter[str] = Counter()
    took: list[tuple[float, float]] = []
    broken: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), repository, processes=1) as service:
        worker = service.workers()[0]
        began_with = _resident_mebibytes(worker)
        with grpc.insecure_channel(service.target) as channel:
            stub = apply_pb2_grpc.ApplyServiceStub(channel)
            for run in range(first, first + runs):
                request = _mutated_request(apply_pb2, service.user_id, run, seeds)
                began, cpu = time.perf_counter(), cpu_seconds_of(worker)
                try:
                    response = stub.ApplyCloak(request, timeout=20)
                    outcomes[apply_pb2.CloakOutcome.Name(response.subjects[0].outcome)] += 1
                    outcomes[apply_pb2.EncodingPath.Name(response.encoding_path)] += 1
                except grpc.RpcError as error:
                    outcomes[error.code().name] += 1
                    if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                        broken.append({"run": run, "code": error.code().name})
                took.append((cpu_seconds_of(worker) - cpu, time.perf_counter() - began))
        still_there = service.workers()
        memory = {
            "resident_mebibytes_before": began_with,
            "resident_mebibytes_after": _resident_mebibytes(worker),
            "peak_memory_mebibytes": _peak_mebibytes(worker),
        }
    return {
        "runs": runs,
        "first_seed": first,
        "outcomes": dict(sorted(outcomes.items())),
        "defects": broken[:20],
        "same_process_at_the_end": still_there == [worker],
        "slowest_cpu_seconds": round(max(cpu for cpu, _ in took), 3),
        "over_a_second_of_cpu": sum(cpu > 1 for cpu, _ in took),
        "slowest_wall_seconds": round(max(wall for _, wall in took), 3),
        "over_a_second_of_wall_time": sum(wall > 1 for _, wall in took),
        **memory,
    }


def _mutated_request(apply_pb2: Any, user_id: str, run: int, seeds: list[bytes]) -> Any:
    rng = np.random.default_rng(10**9 + run)
    request = apply_pb2.ApplyCloakRequest(photo=mutated(rng, seeds))
    subject = request.subjects.add(user_id=user_id)
    if run % 4 < 3:
        _hint(subject.face, rng)
    return request


def _hint(hint: Any, rng: np.random.Generator) -> None:
    x, y, side = rng.uniform(0, 30), rng.uniform(0, 30), rng.uniform(20, 60)
    if rng.random() < 0.5:
        hint.box.x, hint.box.y, hint.box.width, hint.box.height = x, y, side, side
        return
    from facecloak.faces import ARCFACE_TEMPLATE

    names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for name, (u, v) in zip(names, ARCFACE_TEMPLATE * side / 112 + (x, y), strict=True):
        point = getattr(hint.landmarks, name)
        point.x, point.y = float(u), float(v)


def _peak_mebibytes(process: int) -> int:
    return _status(process, "VmHWM")


def _resident_mebibytes(process: int) -> int:
    return _status(process, "VmRSS")


def _status(process: int, name: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) // 1024
    return 0


@click.command()
@click.option("--parser", "parser_runs", default=1_000_000, show_default=True, type=click.IntRange(0))
@click.option("--service", "service_runs", default=100_000, show_default=True, type=click.IntRange(0))
@click.option(
    "--first", default=0, show_default=True, help="Number of the first mutation; the same number, the same photo."
)
@click.option("--repository", type=click.Path(exists=True, file_okay=False, path_type=Path),
              default=Path("model_repository"), show_default=True, envvar="FACECLOAK_MODEL_REPOSITORY")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/bench/fuzz.json"))
def main(*, parser_runs: int, service_runs: int, first: int, repository: Path, out: Path) -> None:
    """Send mutated photos through the splice parser and the apply service."""
    from facecloak_evaluation.ledger import MEASURING_PACKAGES, provenance, write_json

    document: dict[str, Any] = {"schema": "facecloak-fuzz/1", **provenance(MEASURING_PACKAGES)}
    if parser_runs:
        document["parser"] = fuzz_parser(runs=parser_runs, first=first)
        click.echo(json.dumps(document["parser"]))
    if service_runs:
        document["service"] = fuzz_service(runs=service_runs, first=first, repository=repository)
        click.echo(json.dumps(document["service"]))
    write_json(out, document)


if __name__ == "__main__":
    main()
