"""The page of formats says what is so: some kinds are made and cloaked again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facecloak.cloaking.cloaker import Cloaker
from tools.docs.format_kinds import KINDS
from tools.docs.format_table import LIMITS, PAGE, row_of, row_text, table_mask

AGAIN = [
    "JPEG 4:2:0",
    "JPEG, EXIF thumbnail",
    "JPEG, Ultra HDR (hdrgm)",
    "JPEG, CMYK",
    "PNG, 16 bits",
    "JPEG, signed by a camera (C2PA)",
    "JPEG, samples in a comment",
    "GIF, animated",
]


@pytest.fixture(scope="module")
def cloaker(model_repository: Path) -> Cloaker:
    return Cloaker.load({"user": table_mask()}, limits=LIMITS, model_repository=model_repository)


def test_every_kind_is_on_the_page() -> None:
    listed = [
        line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines() if line.startswith("| ")
    ]
    assert listed[1:] == list(KINDS)
    assert len(KINDS) >= 40
    assert "| NO |" not in PAGE.read_text()


@pytest.mark.parametrize("kind", AGAIN)
def test_the_page_says_what_is_so(cloaker: Cloaker, astronaut_srgb_u8: np.ndarray, kind: str) -> None:
    face = cv2.resize(astronaut_srgb_u8, (256, 256), interpolation=cv2.INTER_AREA)
    row = row_text(row_of(kind, KINDS[kind], cloaker, face)).split(" | ")
    stated = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {kind} |")).split(" | ")
    # What opens it depends on what is installed, and the last digit of a difference on the release of a library.
    assert row[:2] == stated[:2]
    assert row[2:3] == stated[2:3] or (row[2].startswith("coded anew") and stated[2].startswith("coded anew"))
    assert row[3:5] == stated[3:5]
