"""Two tenants with the same users: hostile calls on real servers, and nothing of one ever reaches the other.

`python -m benchmarks.hostile_calls` makes 10,000 of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile_calls import run

CALLS = 1000


@pytest.mark.slow
def test_no_call_reaches_another_tenants_users(tmp_path: Path, model_repository: Path) -> None:
    result = run(tmp_path, model_repository, calls=CALLS, threads=4)
    ended = result["ended"]
    assert ended["OK"] > CALLS / 4
    assert {
        "INVALID_USER_ID", "INVALID_INPUT", "MASK_NOT_FOUND", "CREDENTIALS_MISSING", "CREDENTIALS_INVALID",
        "CALLER_UNKNOWN", "RIGHT_MISSING", "REQUEST_ID_REUSED",
    } <= set(ended)  # fmt: skip
    assert result["users_compared_at_the_end"] == 4 * 2 * 3
