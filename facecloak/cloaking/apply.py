"""One photo, one mask, one call: for programs that keep masks themselves."""

from __future__ import annotations

import os
from pathlib import Path

from facecloak.cloaking.cloaker import Cloaker, CloakResult
from facecloak.cloaking.subject import Subject
from facecloak.faces import Box
from facecloak.masks.bank import StoredMask
from facecloak.photos import read_photo

_NOBODY_IN_PARTICULAR = "subject"


def apply(
    photo: bytes | str | os.PathLike[str],
    mask: StoredMask,
    *,
    face: Box | None = None,
    allow_uncloaked: bool = False,
    model_repository: Path | str | None = None,
) -> CloakResult:
    """Put a person's mask on a photo. Opens the face finder each time: for many photos keep a :class:`Cloaker`.

    Args:
        photo: a JPEG, PNG or WebP: its bytes, or the path of its file.
        mask: what :func:`facecloak.enroll` gave.
        face: where the person's face is, px of the upright photo; needed where several people are.
        allow_uncloaked: give back the photo as it came, instead of raising, where it cannot be cloaked.
        model_repository: the folder of models; by default that of the command line
            (:func:`facecloak.models.repository.default_folder`).

    Returns:
        ``photo``, the cloaked photo's bytes in its own format, and in ``subjects[0]`` what was done.

    Raises:
        PhotoNotCloaked: no face, several, or one that is too small.
        PhotoRefused: no photo, or one beyond the limits.
        FinderModelMissing: run ``facecloak models pull``.
    """
    data = read_photo(photo)
    cloaker = Cloaker.load({_NOBODY_IN_PARTICULAR: mask}, model_repository=model_repository)
    result = cloaker.cloak(data, [Subject(_NOBODY_IN_PARTICULAR, box=face)])
    if not allow_uncloaked:
        result.require_cloaked()
    return result
