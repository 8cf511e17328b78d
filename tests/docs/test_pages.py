"""The pages: the client runs as it is printed, links lead somewhere, and what the code knows better is current."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from deploy.tools import pages
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak_rpc.server import RpcServer
from facecloak_rpc.storage import StoreSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK: dict[str, Any] = {"surrogates": ("mobileface",), "recipe": Path(__file__).parents[1] / "recipes/quick.toml"}


def example() -> str:
    """The page's one Python program."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "api.md").read_text(), flags=re.M | re.S)
    return program


def serving(server: RpcServer) -> RpcServer:
    server.start()
    assert server.readiness.wait_ready(60)
    return server


def test_the_client_in_the_guide_runs(tmp_path: Path, model_repository: Path, astronaut_photo: bytes) -> None:
    common: dict[str, Any] = {
        "port": 0, "model_repository": model_repository, "store": StoreSettings(data=tmp_path / "data"),
    }  # fmt: skip
    enroll = serving(build_enroll_server(EnrollSettings(**QUICK, threads=1, **common)))
    apply = serving(build_apply_server(ApplySettings(**common)))
    program, portrait, out = tmp_path / "client.py", tmp_path / "portrait.jpg", tmp_path / "out.jpg"
    program.write_text(example())
    portrait.write_bytes(astronaut_photo)
    try:
        targets = [enroll.target, apply.target]
        command = [sys.executable, str(program), *targets, str(portrait), str(portrait), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^mask [0-9a-f]{32}, structural similarity 0\.\d\d$", done.stdout, re.M)
        assert "not cloaked" not in done.stdout
        assert out.read_bytes() != astronaut_photo
        # What is not cloaked is not written.
        photo, uncloaked = tmp_path / "photo.jpg", tmp_path / "uncloaked.jpg"
        photo.write_bytes(_gray())
        command = [sys.executable, str(program), *targets, str(portrait), str(photo), str(uncloaked)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith("not cloaked: NOT_CLOAKED:")
        assert "user-4711: CLOAK_OUTCOME_NO_FACE" in done.stdout
        assert not uncloaked.exists()
        # No face: the reason reaches the person.
        portrait.write_bytes(_gray())
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith("not enrolled: NO_FACE:")
    finally:
        for server in (enroll, apply):
            server.stop(grace_seconds=0)


def _gray() -> bytes:
    import numpy as np
    import simplejpeg

    return simplejpeg.encode_jpeg(np.full((400, 400, 3), 90, np.uint8), colorspace="RGB")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), flags=re.M)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", pages.PARTS, ids=lambda path: path.name)
def test_written_pages_are_current(path: Path) -> None:
    assert pages.current(path) == path.read_text()


def test_every_setting_part_of_the_recipe_metric_and_alert_is_in_its_page() -> None:
    settings, operations = (path.read_text() for path in (pages.SETTINGS_PAGE, pages.OPERATIONS_PAGE))
    for name in ("`GRACE_SECONDS`", "`STRENGTH`", "`perturb.iterations`", "`bank.repulsion`"):
        assert name in settings
    for name in ("`facecloak_mask_jod`", "FaceCloakNotReady"):
        assert name in operations
