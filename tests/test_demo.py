"""The demo as `make demo` runs it, with few steps: both services, both calls, the report."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from demo.photos import MEMBER_BYTES_LIMIT, DemoFailed, _member, own_photos

ROOT = Path(__file__).resolve().parent.parent
FEW_STEPS = {"FACECLOAK_ENROLL_RECIPE": str(ROOT / "tests/recipes/demo.toml")}


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **FEW_STEPS, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "demo", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_own_photos_are_enrolled_and_cloaked(tmp_path: Path, model_repository: Path, astronaut_photo: bytes) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "1.jpg").write_bytes(astronaut_photo)
    (tmp_path / "mine" / "notes.txt").write_text("not a photo")
    done = run_demo(tmp_path, "--photos", "mine", "--repository", str(model_repository))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Only one photo was given" in done.stdout
    for recognizer in ("dlib_resnet", "faceres", "fr_feature", "mobileface", "mobilefacenet", "sface"):
        assert recognizer in done.stdout
    report = (tmp_path / "out/demo/report.html").read_text()
    # The enrolled photo; the face and the whole photo before and after; and the difference.
    assert report.count("data:image/jpeg;base64,") == 5
    assert report.count("data:image/png;base64,") == 1
    assert "one photo of one person and six recognizers" in report
    assert report.count('<article class="card">') == 1
    assert re.search(r"<b>1.jpg</b>: (Of the|All) \d recognizers that matched this photo", report)
    assert "http:" not in report
    assert "https:" not in report
    assert (tmp_path / "out/demo/cloaked/1.jpg").read_bytes() != astronaut_photo
    for name in ("enroll", "apply"):
        assert "stopped" in (tmp_path / f"out/demo/{name}_service.log").read_text()


@pytest.mark.slow
def test_photo_that_does_not_qualify_ends_the_demo_with_the_reason(tmp_path: Path, model_repository: Path) -> None:
    import numpy as np
    import simplejpeg

    (tmp_path / "mine").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    (tmp_path / "mine" / "1.jpg").write_bytes(simplejpeg.encode_jpeg(noise))
    done = run_demo(tmp_path, "--photos", "mine", "--repository", str(model_repository))
    assert done.returncode == 1
    assert "was not enrolled" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="holds no JPEG"):
        own_photos(tmp_path, cache=tmp_path)
    with pytest.raises(DemoFailed, match="no folder"):
        own_photos(tmp_path / "nowhere", cache=tmp_path)


def test_archive_members_are_bounded() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("big")
        info.size = MEMBER_BYTES_LIMIT + 1
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive, pytest.raises(DemoFailed, match="larger than"):
        _member(archive, "big")
