"""Runtimes on a real Triton, impatient enough for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from facecloak.models.verify import probe_crops
from facecloak.recognizers.triton.connection import TritonConnection
from facecloak.recognizers.triton.runtime import TritonRuntime


@pytest.fixture
def connect(model_repository: Path) -> Iterator[Callable[..., TritonRuntime]]:
    """Opens runtimes of one server; fields of TritonConnection may be given."""
    opened: list[TritonRuntime] = []

    def open_one(url: str, *, repository: Path = model_repository, **fields: object) -> TritonRuntime:
        connection = TritonConnection(url, **{"call_seconds": 20.0, "retry_seconds": 20.0, **fields})  # type: ignore[arg-type]
        names = ["dlib_resnet", "mobileface"] if repository == model_repository else None
        opened.append(TritonRuntime(repository, connection=connection, names=names))
        return opened[-1]

    yield open_one
    for runtime in opened:
        runtime.close()


@pytest.fixture(scope="session")
def crops8() -> np.ndarray:
    """(8, 3, 112, 112) float32, smooth and all different: one step's batch."""
    return probe_crops(8)
