"""`make looks`: the page, and a run with few steps."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.looks.looking import MeasuredLook
from demo.looks.page import LookedAt, write_page
from demo.looks.subjects import astronaut, people
from facecloak.masks.displacement import DisplacementSize
from facecloak_evaluation.dataset import Person
from facecloak_evaluation.visibility import Visibility

ROOT = Path(__file__).resolve().parent.parent
SEEN = Visibility(0.97, 38.0, 12, 2.0, 0.5, 0.1, ssimulacra2=75.4, flip_99=0.12, jod=9.01)
HOSTILE = "<script>alert(1)</script>"


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), level, np.uint8)).save(file, "JPEG", quality=100)
    return file.getvalue()


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def looked_at(remark: str = "") -> LookedAt:
    size = DisplacementSize(rms_percent=2.31, largest_percent=5.7, asymmetry_percent=0.0)
    natural = MeasuredLook(jpeg(110), "CLOAKED", SEEN, SEEN, size, {"sface": (0.71, 0.12), "facenet": (0.8, None)})
    looks = {
        "natural": natural,
        "strong": f"not enrolled: {HOSTILE}",
        "weak": MeasuredLook(jpeg(100), "NO_FACE", None, None, None, {}),
    }
    return LookedAt(title="ann", remark=remark, name="ann.jpg", original=jpeg(100), looks=looks)


def test_a_photo_stands_before_after_and_amplified(tmp_path: Path) -> None:
    page = Page(write_page([looked_at()], tmp_path, remarks=["a remark", ""]))
    (pictures,) = [json.loads(value) for name, value in page.attributes if name == "data-pictures"]
    assert list(pictures) == ["natural"]  # only what was cloaked can be shown
    assert (tmp_path / pictures["natural"]["after"]).read_bytes() == jpeg(110)
    (before,) = [value for name, value in page.attributes if name == "src"]
    assert (tmp_path / before).read_bytes() == jpeg(100)
    difference = np.asarray(Image.open(tmp_path / pictures["natural"]["difference"]))
    assert difference.shape == (48, 64, 3)
    assert (difference == 128 + 8 * 10).all()
    for words in ("9.01", "75", "0.120", "0.970", "2.3, 5.7", "0.71 → 0.12", "0.80 → no face", "NO_FACE", "a remark"):
        assert words in page.text
    assert page.text.count("a remark") == 1


def test_words_cannot_inject_markup_and_nothing_is_brought_from_elsewhere(tmp_path: Path) -> None:
    path = write_page([looked_at(remark=HOSTILE)], tmp_path, remarks=[HOSTILE])
    page = Page(path)
    assert page.tags.count("script") == 1  # the page's own
    assert page.text.count(HOSTILE) == 3
    assert "http:" not in path.read_text()
    assert "https:" not in path.read_text()


def test_pictures_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    write_page([looked_at()], tmp_path, remarks=[])
    (tmp_path / "pictures" / "bob.jpg").write_bytes(b"old")
    write_page([looked_at()], tmp_path, remarks=[])
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "ann-natural-difference.png",
        "ann-natural.jpg",
        "ann.jpg",
    ]


def test_who_is_looked_at(tmp_path: Path) -> None:
    for name in ("enrol", "photo1", "photo4"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    numbered = {1: tmp_path / "photo1.jpg", 4: tmp_path / "photo4.jpg"}
    person = Person(name="ann", enroll_photo=tmp_path / "enrol.jpg", photos=numbered)
    (fourth,), (last,) = people([person], probe=4), people([person], probe=2)
    assert [photo.data for photo in (fourth.enrolled, *fourth.photos, *last.photos)] == [b"enrol", b"photo4", b"photo4"]
    assert not fourth.may_be_shown
    subject = astronaut()
    sizes = [Image.open(io.BytesIO(photo.data)).size for photo in subject.photos]
    assert (sizes, subject.may_be_shown) == ([(512, 512), (1024, 1024)], True)
    assert subject.enrolled.data == subject.photos[0].data


@pytest.mark.slow
def test_the_astronaut_is_enrolled_cloaked_and_shown(tmp_path: Path, model_repository: Path) -> None:
    from enroll_service.pipeline.settings import Strength

    weakest = next(iter(Strength)).value
    command = [sys.executable, "-m", "demo.looks", "--strength", weakest, "--set", "perturb.iterations=3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command += ["--repository", str(model_repository), "--out", "looks"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    page = Page(tmp_path / "looks" / "index.html")
    assert page.tags.count("section") in (2, 4)  # the portraits come over the network
    assert "keep it to yourself" not in page.text
    for side in (512, 1024):
        cloaked = Image.open(tmp_path / f"looks/pictures/astronaut-{side}-{weakest}.jpg")
        assert cloaked.size == (side, side)
    assert "sface" in page.text


def test_a_folder_without_people_is_refused_in_a_line(tmp_path: Path, model_repository: Path) -> None:
    command = [sys.executable, "-m", "demo.looks", "--people", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACECLOAK_MODEL_REPOSITORY": str(model_repository)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "nobody is left" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
