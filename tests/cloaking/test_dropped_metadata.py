"""What went out of a file reaches whoever asked, whichever way the photo was changed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apply_service.convert import response_to
from facecloak.cloaking.cloaker import Cloaker, Outcome, Subject
from facecloak.faces import FaceFinder
from facecloak.masks.mask import Mask
from facecloak.photos.native_splice import is_available
from facecloak.stores import MaskNotFound
from facecloak.users import User
from tests.photos.metadata import blocks
from tests.photos.test_splice import soft

MASK = Mask.new(soft(np.random.default_rng(1), 112, 112).round().astype(np.int8), seed=1)


class Masks:
    def get(self, user: User) -> Mask:
        if user.user_id != "alice":
            raise MaskNotFound("not enrolled")
        return MASK


@pytest.fixture(scope="module")
def cloaker(model_repository: Path) -> Cloaker:
    return Cloaker(FaceFinder.load(model_repository), Masks())


@pytest.mark.parametrize("progressive", [False, True])
def test_the_answer_lists_what_was_dropped(cloaker: Cloaker, astronaut_srgb_u8: np.ndarray, progressive: bool) -> None:
    if not progressive and not is_available():
        pytest.skip("the splice codec was not built: no Rust compiler here")
    out, small = io.BytesIO(), io.BytesIO()
    Image.fromarray(astronaut_srgb_u8).save(out, "JPEG", quality=90, progressive=progressive)
    Image.fromarray(astronaut_srgb_u8).resize((160, 160)).save(small, "JPEG", quality=80)
    photo = blocks.with_segments(
        out.getvalue(),
        blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_thumbnail(old=small.getvalue())),
        blocks.segment(0xE2, b"MPF\0MM\0*"),
    )
    result = cloaker.cloak(photo, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert result.dropped == ("exif.thumbnail:redrawn", "mpf")
    message = response_to(result, request_id="x")
    assert list(message.dropped_metadata) == ["exif.thumbnail:redrawn", "mpf"]
    # Nobody cloaked, nothing touched: neither the first time, nor when the photo comes again.
    for subject, data in (("bob", photo), ("alice", result.photo)):
        again = cloaker.cloak(data, [Subject(subject)])
        assert (again.photo, again.dropped) == (data, ())
