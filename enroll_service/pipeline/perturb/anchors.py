"""Anchors: where a mask moves a person's embedding to.

An embedding is moved away from its own identity (``near``) and towards an anchor (``far``). By default the anchor is
synthetic: the direction opposite to the identity, the farthest there is (:func:`opposite`). An operator's own
portraits give the center of the population (:class:`AnchorPool`, `facecloak anchors build`), and then the anchor is
the identity mirrored through it: recognizers' similarities have an offset of their own (two strangers are at 0.07 for
ArcFace-type ones and at 0.87 for dlib's), and only what sticks out of that is the person. Nobody's embedding is
shipped, and a pool holds only means.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.recognizers import RecognizerRuntime

MIN_PORTRAITS = 20
"""Fewer portraits than this make a center that leans towards some of them."""

_MAX_POOL_BYTES = 16 * 1024 * 1024


class AnchorPoolUnusable(FaceCloakError):
    """The pool is damaged, too small, or made for other recognizers."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "ANCHOR_POOL_UNUSABLE"


def opposite(identity: np.ndarray) -> np.ndarray:
    """The synthetic far anchor (1, D) of a unit ``identity`` (1, D)."""
    return -identity


def mirrored(identity: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The far anchor (1, D) of a unit ``identity`` (1, D): mirrored through the population's ``center`` (1, D), unit
    length."""
    far = 2 * center - identity
    return (far / max(float(np.linalg.norm(far)), 1e-12)).astype(np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class AnchorPool:
    """Population centers by recognizer, made from an operator's portraits. Holds no single person's embedding.

    Attributes:
        centers: by recognizer name, (1, D) float32: the mean of the portraits' unit embeddings.
        digests: by recognizer name, the digest of the weights that made it.
    """

    centers: Mapping[str, np.ndarray]
    digests: Mapping[str, str]

    @classmethod
    def build(cls, crops: Iterable[np.ndarray], *, runtime: RecognizerRuntime) -> AnchorPool:
        """From aligned crops (3, 112, 112) float32 of different people, one a person.

        Raises:
            AnchorPoolUnusable: fewer than MIN_PORTRAITS crops.
        """
        batch = np.stack(list(crops) or [np.zeros((3, 112, 112), np.float32)])
        if len(batch) < MIN_PORTRAITS:
            raise AnchorPoolUnusable(
                "An anchor pool needs more portraits.", min_portraits=MIN_PORTRAITS, portraits=len(batch)
            )
        centers = {name: runtime.embed(name, batch).mean(axis=0, keepdims=True) for name in runtime.names()}
        return cls(centers=centers, digests={name: runtime.spec(name).model_sha256 for name in centers})

    def center(self, name: str, *, runtime: RecognizerRuntime) -> np.ndarray:
        """The center (1, D) for a recognizer of ``runtime``; AnchorPoolUnusable where the pool lacks it or differs."""
        if name not in self.centers or self.digests[name] != runtime.spec(name).model_sha256:
            raise AnchorPoolUnusable(f"The anchor pool was not made with this recognizer: {name}.", recognizer=name)
        return self.centers[name]

    def to_bytes(self) -> bytes:
        """Serialize (numpy's npz without pickles)."""
        names = sorted(self.centers)
        arrays = {f"center_{name}": self.centers[name].astype(np.float32) for name in names}
        digests = np.array([[name, self.digests[name]] for name in names])
        buffer = io.BytesIO()
        np.savez(buffer, digests=digests, **arrays)  # type: ignore[arg-type]  # numpy's stub takes arrays for flags
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> AnchorPool:
        """Read a pool; AnchorPoolUnusable where the file is no pool."""
        try:
            if path.stat().st_size > _MAX_POOL_BYTES:
                raise AnchorPoolUnusable("The anchor pool's file is too large.", max_bytes=_MAX_POOL_BYTES)
            with np.load(path, allow_pickle=False) as file:
                digests = {str(name): str(digest) for name, digest in file["digests"]}
                centers = {name: np.asarray(file[f"center_{name}"], dtype=np.float32) for name in digests}
        except (OSError, KeyError, ValueError) as error:
            raise AnchorPoolUnusable("The anchor pool cannot be read.") from error
        for center in centers.values():
            if center.ndim != 2 or len(center) != 1 or not np.isfinite(center).all():
                raise AnchorPoolUnusable("The anchor pool is damaged.")
        return cls(centers=centers, digests=digests)
