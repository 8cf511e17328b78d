"""The mask: what enrollment produces, what a store keeps and what apply puts on a photo.

A mask paints and moves: 112 x 112 x 3 signed levels of 0..255 sRGB to add, and a displacement
(:mod:`facecloak.masks.displacement`), both in the frame of the aligned face crop (five points, similarity) or in the
face's own (mesh): :class:`MaskGeometry`. Either part may be absent.
Its file is a safetensors container (https://huggingface.co/docs/safetensors, "Format"): int8 tensors ``pixels`` and
``displacement``, and, in the header's ``__metadata__``, one JSON document under the format's name: format version,
every other field, and a SHA-256 over the whole file with the digest itself taken as zeros. So any damage is found,
whatever byte it hits. (One entry only: safetensors writes several in no fixed order, and the same mask must always be
the same bytes.)

Format version 1 has neither displacement nor target; masks without them are still written so. Version 2 is a bank
(:mod:`facecloak.masks.bank`), version 3 a mask with them.

A mask is secret: whoever has it can subtract it. Nothing in it names the user.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from facecloak.errors import ErrorCode, FaceCloakError
from facecloak.masks.consent import Consent, ConsentInvalid
from facecloak.masks.displacement import DISPLACEMENT_NODES
from facecloak.models.crop import CROP_SIZE

MASK_SIZE = CROP_SIZE
"""Side of a mask, in pixels of the aligned crop (ArcFace's crop size)."""


class MaskGeometry(StrEnum):
    """How a mask's pixels map to a face."""

    SQUARE = "similarity-112"
    """The frame of the aligned crop: five points, one similarity."""
    FACE = "uv-112"
    """The face's own frame (:mod:`facecloak.faces.frame`), which follows pose and expression by the face mesh. It is
    the aligned crop of the mean face, so that such a mask can be placed by similarity too, where the mesh fails."""


FORMAT_NAME = "facecloak-mask"
PAINT_FORMAT_VERSION = 1
"""Of a mask that only paints, the same on every photo."""
FORMAT_VERSION = 3
"""Of a mask with a displacement, or with a target of visibility."""
FORMAT_VERSIONS = (PAINT_FORMAT_VERSION, FORMAT_VERSION)
MAX_MASK_BYTES = 64 * 1024
"""Largest mask file. The pixels take 37,632 bytes, a displacement 1,568; the rest is for versions and report."""

_MOST_NAMED = 200
_NO_DIGEST = "sha256:" + "0" * 64
_MASK_ID = re.compile(r"[0-9a-f]{32}")
# Of two equal pictures.
_TARGETS = {"target_jod": 10.0, "target_ssimulacra2": 100.0}


class MaskCorrupt(FaceCloakError):
    """The bytes are no mask, or not the mask that was written."""

    code = ErrorCode.INTERNAL
    reason = "MASK_CORRUPT"


class MaskFormatUnsupported(MaskCorrupt):
    """A mask that this release cannot read, because a later release made it."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "MASK_FORMAT_UNSUPPORTED"
    advice = "upgrade this service: apply before enroll, so that no mask is newer than what reads it"

    def __init__(self, **metadata: object) -> None:
        super().__init__("The mask was made by a later release than this service's.", **metadata)


class MaskInvalid(FaceCloakError):
    """A mask was put together wrongly (shape, type, or more than fits in MAX_MASK_BYTES)."""

    reason = "MASK_INVALID"


@dataclass(frozen=True, eq=False)
class Mask:
    """One user's mask.

    Attributes:
        pixels: (112, 112, 3) int8, RGB levels of 0..255 sRGB to add in the mask's frame; read-only. All zero where the
            mask paints nothing.
        mask_id: 32 random hex digits; names this mask, never the user.
        created_at: ISO 8601 with a zone.
        seed: of the enrollment's random generator, 0 .. 2**63 - 1.
        versions: name -> version or digest of everything that shaped the mask.
        report: what was measured at enrollment; JSON values, finite numbers.
        geometry: how ``pixels`` and ``displacement`` map to a face.
        displacement: (28, 28, 2) int8, in units of 1/32 px of the mask's frame, x then y: the cloaked face shows at a
            place what the face shows that far from it. Read-only; None where the mask moves nothing.
        target_jod, target_ssimulacra2: how visible ``pixels`` are to be on every photo: just so that these two, as
            :mod:`facecloak.cloaking.visibility` predicts them, are kept; below 10 and below 100, which is not at all.
            None where one does not count; both None where the pixels are added as they are.
        receipt: by which request it was made, as keyed digests by name; empty where nobody may ask.
        consent: what the person agreed to; None where the platform said nothing of it.

    Raises:
        MaskInvalid: a field is out of its range.
    """

    pixels: np.ndarray
    mask_id: str
    created_at: str
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    geometry: MaskGeometry = MaskGeometry.SQUARE
    displacement: np.ndarray | None = None
    target_jod: float | None = None
    target_ssimulacra2: float | None = None
    receipt: Mapping[str, str] = field(default_factory=dict)
    consent: Consent | None = None

    def __post_init__(self) -> None:
        _require_levels("pixels", self.pixels, (MASK_SIZE, MASK_SIZE, 3))
        if self.displacement is not None:
            _require_levels("displacement", self.displacement, (DISPLACEMENT_NODES, DISPLACEMENT_NODES, 2))
        for name, best in _TARGETS.items():
            target = getattr(self, name)
            if target is not None:
                _require(type(target) in (int, float) and 0 < target < best, f"{name} is out of range")
                object.__setattr__(self, name, float(target))
        _require(
            isinstance(self.mask_id, str) and bool(_MASK_ID.fullmatch(self.mask_id)), "mask_id is not 32 hex digits"
        )
        _require(_is_instant(self.created_at), "created_at is not an ISO 8601 instant with a zone")
        _require(type(self.seed) is int and 0 <= self.seed < 2**63, "seed is out of range")
        _require(self.geometry in tuple(MaskGeometry), f"geometry is none of {', '.join(MaskGeometry)}")
        _require(
            isinstance(self.versions, Mapping) and isinstance(self.report, Mapping), "versions or report is no mapping"
        )
        _require(
            _maps_text(self.versions),
            "versions must map str to str",
        )
        _require(_maps_text(self.receipt), "receipt must map str to str")
        object.__setattr__(self, "pixels", _own_copy(self.pixels))
        if self.displacement is not None:
            object.__setattr__(self, "displacement", _own_copy(self.displacement))
        object.__setattr__(self, "geometry", MaskGeometry(self.geometry))
        object.__setattr__(self, "versions", dict(self.versions))
        object.__setattr__(self, "receipt", dict(self.receipt))
        # Through JSON once: what is held is what a file gives back (tuples become lists), and it is the mask's own
        # copy.
        object.__setattr__(self, "report", json.loads(_canonical_json(dict(self.report))))

    @classmethod
    def new(
        cls,
        pixels: np.ndarray,
        *,
        seed: int,
        versions: Mapping[str, str] | None = None,
        report: Mapping[str, Any] | None = None,
        geometry: MaskGeometry = MaskGeometry.SQUARE,
        displacement: np.ndarray | None = None,
        target_jod: float | None = None,
        target_ssimulacra2: float | None = None,
    ) -> Mask:
        """Make a mask with a fresh random id and the present time; see the attributes."""
        return cls(
            pixels=pixels,
            mask_id=secrets.token_hex(16),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=seed,
            versions=versions or {},
            report=report or {},
            geometry=geometry,
            displacement=displacement,
            target_jod=target_jod,
            target_ssimulacra2=target_ssimulacra2,
        )

    @functools.cached_property
    def paints(self) -> bool:
        """Whether it adds anything to a photo."""
        return bool(self.pixels.any())

    @functools.cached_property
    def moves(self) -> bool:
        """Whether it displaces anything in a photo."""
        return self.displacement is not None and bool(self.displacement.any())

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Itself: a user with one mask is a bank of one (see :mod:`facecloak.masks.bank`)."""
        return (self,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        one, two = self._tensors(), other._tensors()
        alike = one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)
        return alike and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self.mask_id)

    def __repr__(self) -> str:
        # The pixels are secret and the report is long: neither belongs in a log line.
        return f"Mask({self.mask_id}, created_at={self.created_at})"

    def to_bytes(self) -> bytes:
        """Serialize, at most MAX_MASK_BYTES.

        Raises:
            MaskInvalid: versions and report do not fit.
        """
        data = write_container(self._tensors(), {"format_version": self._format_version()} | self._fields())
        if len(data) > MAX_MASK_BYTES:
            raise MaskInvalid("The mask is too large to be kept.", max_bytes=MAX_MASK_BYTES, bytes=len(data))
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Mask:
        """Parse :meth:`to_bytes`' output; reads at most MAX_MASK_BYTES whatever it is given.

        Raises:
            MaskCorrupt: not a mask, or damaged.
            MaskFormatUnsupported: a mask of a later release, by its format version or by fields unknown to this one.
        """
        if len(data) > MAX_MASK_BYTES:
            raise MaskCorrupt("The stored mask is too large.", max_bytes=MAX_MASK_BYTES)
        document = read_container(data)
        version = document.pop("format_version", None)
        if version not in FORMAT_VERSIONS:
            raise MaskFormatUnsupported(format_version=version, readable=max(FORMAT_VERSIONS))
        verify_container(data, document.pop("digest", None))
        try:
            tensors: dict[str, Any] = safetensors.numpy.load(data)
            consent = document.pop("consent", None)
            # The file is as it was written: what is unknown in it is not damage.
            require_known({*tensors, *document}, {known.name for known in dataclasses.fields(cls)})
            if isinstance(geometry := document.get("geometry"), str) and geometry not in set(MaskGeometry):
                raise MaskFormatUnsupported(geometry=geometry[:_MOST_NAMED])
            mask = cls(
                **tensors,
                **_with_own_receipt(document),
                consent=None if consent is None else Consent.from_fields(consent),
            )
            if mask._format_version() != version:
                raise MaskCorrupt("The stored mask is damaged.")
            return mask
        except (KeyError, TypeError, ValueError, MaskInvalid, ConsentInvalid, safetensors.SafetensorError) as error:
            raise MaskCorrupt("The stored mask is damaged.") from error

    def _format_version(self) -> int:
        return FORMAT_VERSION if self.displacement is not None or self._targets() else PAINT_FORMAT_VERSION

    def _tensors(self) -> dict[str, np.ndarray]:
        moved = {} if self.displacement is None else {"displacement": self.displacement}
        return {"pixels": self.pixels} | moved

    def _fields(self) -> dict[str, Any]:
        receipt = {"receipt": dict(self.receipt)} if self.receipt else {}
        return (
            {
                "mask_id": self.mask_id,
                "created_at": self.created_at,
                "seed": self.seed,
                "geometry": self.geometry,
                "versions": dict(self.versions),
                "report": dict(self.report),
            }
            | self._targets()
            | receipt
            | ({"consent": self.consent.to_fields()} if self.consent is not None else {})
        )

    def _targets(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _TARGETS if getattr(self, name) is not None}


def write_container(tensors: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> bytes:
    """A safetensors file of ``tensors`` and one JSON document of ``fields`` and a digest over the whole file.

    Raises:
        MaskInvalid: a field is not JSON, or looks like the digest.
    """
    document = _canonical_json({"digest": _NO_DIGEST, **fields})
    blank = safetensors.numpy.save(dict(tensors), metadata={FORMAT_NAME: document})
    if blank.count(_NO_DIGEST.encode()) != 1:
        raise MaskInvalid("A mask's fields must not look like its digest.")
    return blank.replace(_NO_DIGEST.encode(), _digest(blank).encode())


def read_container(data: bytes) -> dict[str, Any]:
    """The JSON document of :func:`write_container`'s output, nothing verified yet; raises :class:`MaskCorrupt`.

    (safetensors gives a header's metadata for files only, not for bytes in memory.)
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        document = json.loads(header["__metadata__"][FORMAT_NAME])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MaskCorrupt("The stored data is not a mask.") from error
    if not isinstance(document, dict):
        raise MaskCorrupt("The stored data is not a mask.")
    return document


def require_known(names: set[str], known: set[str]) -> None:
    """Raise :class:`MaskFormatUnsupported` where an undamaged file holds more than this release knows."""
    if unknown := names - known:
        raise MaskFormatUnsupported(unknown=" ".join(sorted(unknown))[:_MOST_NAMED])


def _require_levels(name: str, array: object, shape: tuple[int, ...]) -> None:
    _require(isinstance(array, np.ndarray), f"{name} is no array")
    assert isinstance(array, np.ndarray)
    _require(array.shape == shape, f"{name} has the shape {array.shape}")
    _require(array.dtype == np.int8, f"{name} is {array.dtype}, not int8")


def _own_copy(array: np.ndarray) -> np.ndarray:
    copy = np.ascontiguousarray(array).copy()
    copy.setflags(write=False)
    return copy


def _require(condition: bool, fault: str, /) -> None:
    if not condition:
        raise MaskInvalid(f"A mask cannot be made of this: {fault}.")


def _maps_text(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _with_own_receipt(document: dict[str, Any]) -> dict[str, Any]:
    """A mask's fields as this release has them: earlier ones kept the receipt in the report."""
    report = document.get("report")
    if "receipt" in document or not isinstance(report, dict) or "receipt" not in report:
        return document
    receipt = report["receipt"]
    rest = {name: value for name, value in report.items() if name != "receipt"}
    return document | {"report": rest, "receipt": receipt if _maps_text(receipt) else {}}


def _is_instant(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _canonical_json(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MaskInvalid("A mask's report must be JSON with finite numbers.") from error


def _digest(blank: bytes) -> str:
    return f"sha256:{hashlib.sha256(blank).hexdigest()}"


def verify_container(data: bytes, digest: object) -> None:
    """Raise :class:`MaskCorrupt` unless ``digest`` is that of :func:`write_container`'s output ``data``."""
    written = str(digest).encode()
    # The digest's own place is put back to zeros first; a changed digest then differs from the one computed.
    if data.count(written) != 1 or _digest(data.replace(written, _NO_DIGEST.encode())) != digest:
        raise MaskCorrupt("The stored mask is damaged.")
