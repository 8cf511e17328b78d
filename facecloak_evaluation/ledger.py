"""The ledger: one committed JSON file a measurement, with everything that a stranger needs to repeat it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from facecloak.atomic_files import PUBLIC, write_atomically
from facecloak_evaluation.errors import LedgerUnreadable

SCHEMA = "facecloak-evaluation/1"

MEASURING_PACKAGES = (
    *("facecloak", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "scikit-image", "torch"),
    *("ssimulacra2", "flip-evaluator", "cvvdp", "kornia"),
)


def provenance(packages: Iterable[str] = MEASURING_PACKAGES) -> dict[str, Any]:
    """When, by which code, on what: date (UTC), git commit, machine, versions. Names no host and no user."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(Path(__file__).parent),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | _versions(packages),
    }


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, operating system, and how busy all of it is."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def git_state(directory: Path) -> dict[str, Any]:
    """Commit of the checkout that holds `directory`, and whether tracked files differ from it; empty outside of one."""
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git(directory, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py", ":/*.toml")
    return {"commit": commit, "changed": bool(changed)}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Atomically: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, text.encode(), mode=PUBLIC)


def read_result(path: Path) -> dict[str, Any]:
    """A measurement's JSON.

    Raises:
        LedgerUnreadable: not JSON, or not of this schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LedgerUnreadable(f"{path.name} is not readable JSON", file=path.name) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise LedgerUnreadable(f"{path.name} is not a result of the schema {SCHEMA}", file=path.name)
    return document


def read_ledger(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """(file name, result) of every evaluation of a folder in name order; JSON of other schemas is passed over."""
    results = []
    for path in sorted(directory.glob("*.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("schema") == SCHEMA:
            results.append((path.name, read_result(path)))
    return results


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", *arguments), cwd=directory, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or sys.platform


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
