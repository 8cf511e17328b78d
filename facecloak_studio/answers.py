"""What the page is answered: documents for JSON, with a photo's card as HTML."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import cv2
import numpy as np

from facecloak.cloaking.cloaker import Outcome
from facecloak.photos import decode_photo
from facecloak_studio.card import jpeg_uri, photo_card
from facecloak_studio.comparison import Reading, compare
from facecloak_studio.session import LookedAtPhoto, StudioSession
from facecloak_studio.verdict import verdicts

_FLATTERED = (
    "Every recognizer here took part in learning this mask, and so flatters it. Leave one out when you enroll to see "
    "how far a mask carries to one that it was not made for."
)
_SAME_PHOTO = "This is the very photo that was enrolled, which flatters the mask: try another of the same person."


def sample() -> bytes:
    """scikit-image's astronaut (NASA, public domain), as a JPEG."""
    from skimage import data

    return _jpeg(np.ascontiguousarray(data.astronaut()))


def photo_answer(session: StudioSession, photo: bytes, *, name: str, is_enrolled: bool) -> dict[str, Any]:
    """A photo cloaked at every strength there is: cards, the files, and all of them side by side.

    Raises FaceCloakError where the photo is refused.
    """
    original, looked = session.cloak(photo)
    strengths = [
        _strength_answer(session, photo, original, look, name=name, is_enrolled=is_enrolled) for look in looked
    ]
    return {"name": name, "strengths": strengths, "side_by_side": _side_by_side(photo, looked)}


def _strength_answer(
    session: StudioSession, photo: bytes, original: Reading, look: LookedAtPhoto, *, name: str, is_enrolled: bool
) -> dict[str, Any]:
    subject = look.result.subjects[0]
    if not subject.outcome.is_cloaked:
        said = f"{_WORDS.get(subject.outcome, str(subject.outcome))} {subject.advice}".strip()
        verdict = f'<p class="verdict bad">Not cloaked. {escape(said)}</p>'
        card = f'<article class="card"><h3>{escape(name)}</h3>{verdict}</article>'
        return {"strength": look.strength, "card": card, "file": None}
    with session.looking():
        item = compare(
            session.observer,
            session.person.embeddings,
            name=name,
            before=photo,
            original=original,
            after=look.result.photo,
        )
    unseen = session.unseen
    remark = _SAME_PHOTO if is_enrolled else "" if unseen else _FLATTERED
    found = verdicts(item, unseen=unseen, strangers=[])
    card = photo_card(item, found, remark=remark)
    return {"strength": look.strength, "card": card, "file": base64.b64encode(look.result.photo).decode()}


def _side_by_side(photo: bytes, looked: list[LookedAtPhoto]) -> str:
    """The photo and what each strength made of it, at full size."""
    shown = [("original", photo), *((look.strength, look.result.photo) for look in looked)]
    figures = "".join(
        f'<figure><img alt="{escape(label)}" src="{jpeg_uri(decode_photo(data).srgb_u8, quality=95)}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
        for label, data in shown
    )
    hint = '<p class="sub">Each in its own pixels; scroll sideways for the rest.</p>'
    return f'{hint}<div class="full-size">{figures}</div>'


_WORDS = {
    Outcome.NO_FACE: "No face was found in it.",
    Outcome.FACE_TOO_SMALL: "The face is too small.",
    Outcome.MASK_LOST: "Hardly anything of the mask would be left in it.",
    Outcome.AMBIGUOUS_FACE: "Several faces are in it, and none could be told to be the person's.",
}


def _jpeg(srgb_u8: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    return cv2.imencode(".jpg", cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2BGR), options)[1].tobytes()
