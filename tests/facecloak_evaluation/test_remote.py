"""`facecloak evaluate` against both services as they run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.cli import RootGroup
from facecloak_evaluation import command
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.storage import StoreSettings

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"surrogates": ("mobileface",), "recipe": Path(__file__).parents[1] / "recipes/quick.toml"}


@pytest.fixture
def targets(model_repository: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Enrollment and apply service on one store."""
    configure_logging(log_format="json", level="warning")
    common = {"host": "127.0.0.1", "port": 0, "store": StoreSettings(data=tmp_path / "data")}
    common["FACECLOAK_MODEL_REPOSITORY"] = model_repository
    servers = [
        build_enroll_server(EnrollSettings(**QUICK, threads=1, **common)),
        build_apply_server(ApplySettings(**common)),
    ]
    for server in servers:
        server.start()
        assert server.readiness.wait_ready(60)
    yield servers[0].target, servers[1].target
    for server in servers:
        server.stop(grace_seconds=0)


@pytest.fixture
def measure(shared_dir: Path, model_repository: Path, tmp_path: Path, targets: tuple[str, str]) -> object:
    def run(recognizer: str) -> Result:
        root = RootGroup(name="facecloak")
        command.register(root)
        arguments = [
            "--people",
            shared_dir / "faces/people",
            "--people-slice",
            "21:22",
            "--repository",
            model_repository,
        ]
        arguments += ["--recognizer", recognizer, "--json", tmp_path / "out.json"]
        arguments += ["--enroll-target", targets[0], "--apply-target", targets[1]]
        return CliRunner().invoke(root, ["evaluate", *map(str, arguments)])

    return run


def test_running_services_are_measured_and_left_clean(measure: object, tmp_path: Path) -> None:
    result = measure("dlib_resnet")  # type: ignore[operator]
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out.json").read_text())
    (round_,) = document["rounds"]
    assert round_["outcomes"] == {"CLOAKED": 14}
    assert [surrogate["name"] for surrogate in round_["surrogates"]] == ["mobileface"]
    assert len(round_["surrogates"][0]["model_sha256"]) == 64
    assert round_["service"]["versions"]["facecloak"]
    assert 0.5 < round_["visibility"]["face"]["ssim_mean"] < 1
    assert round_["enrollment"]["seconds_median"] > 0
    # What tells that the key is the right one stays, and that users were deleted; no mask does.
    assert not list((tmp_path / "data/masks").rglob("*.mask"))
    assert list((tmp_path / "data/masks").rglob("*.gone"))


def test_a_running_services_surrogate_is_refused(measure: object, tmp_path: Path) -> None:
    result = measure("mobileface")  # type: ignore[operator]
    assert result.exit_code == 1
    assert "EVALUATOR_WAS_SURROGATE" in result.stderr
    assert not (tmp_path / "out.json").exists()
    # What tells that the key is the right one stays, and that users were deleted; no mask does.
    assert not list((tmp_path / "data/masks").rglob("*.mask"))
    assert list((tmp_path / "data/masks").rglob("*.gone"))
