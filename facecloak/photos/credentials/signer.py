"""Signs cloaked photos, by the C2PA library, which the extra `c2pa` brings and nothing else loads."""

from __future__ import annotations

import functools
import io
import json
from datetime import datetime
from typing import Any, Protocol

import cv2
import numpy as np

from facecloak.errors import FaceCloakError
from facecloak.extras import naming_the_extra
from facecloak.photos import heif, jpeg, png, webp
from facecloak.photos.animation.header import is_gif
from facecloak.photos.credentials.certificates import ALGORITHMS, Checked, checked
from facecloak.photos.credentials.errors import SignerUnusable, SigningFailed
from facecloak.photos.credentials.manifest import CONTEXT, manifest_of
from facecloak.photos.multi_picture import with_places_of

__all__ = ["ALGORITHMS", "PhotoSigner", "Signer"]


class PhotoSigner(Protocol):
    """Gives cloaked photos a manifest of their own."""

    def signed(self, photo: bytes, *, parent: bytes) -> bytes | None:
        """``photo`` with a signed manifest that names ``parent``, the file that came, as what it was made from; None
        where it is to be given out unsigned. Raises :class:`SigningFailed`."""
        ...


class Signer:
    """Signs with one certificate. Thread safe."""

    def __init__(
        self,
        chain_pem: bytes,
        key_pem: bytes,
        *,
        algorithm: str = "",
        timestamp_url: str = "",
        unsigned_on_failure: bool = False,
    ) -> None:
        """Signs a picture of its own at once, to see that photos can be.

        Args:
            chain_pem: the signer's certificate, then those between it and the root.
            key_pem: the first certificate's key, PKCS#8, without a passphrase.
            algorithm: one of ALGORITHMS; by default what fits the key.
            timestamp_url: RFC 3161 authority that is asked for each photo; by default none, and nothing is sent out.
            unsigned_on_failure: whether a photo that cannot be signed is given out without a manifest.

        Raises:
            SignerUnusable: see there; ModuleNotFoundError without the extra.
        """
        with naming_the_extra():
            import c2pa  # noqa: F401 - that it is there
        self._checked: Checked = checked(chain_pem, key_pem, algorithm=algorithm)
        self._chain_pem, self._key_pem = chain_pem, key_pem
        self._timestamp_url = timestamp_url
        self._unsigned_on_failure = unsigned_on_failure
        self._try()

    @property
    def algorithm(self) -> str:
        """One of ALGORITHMS."""
        return self._checked.algorithm

    @property
    def ends_at(self) -> datetime:
        """When the certificate ends."""
        return self._checked.ends_at

    def signed(self, photo: bytes, *, parent: bytes) -> bytes | None:
        """See :class:`PhotoSigner`."""
        try:
            self._checked.check_now()
            return self._signed(photo, parent=parent, timestamp_url=self._timestamp_url)
        except FaceCloakError as error:
            if self._unsigned_on_failure:
                return None
            raise SigningFailed("The cloaked photo could not be signed.", fault=error.reason) from error

    def _signed(self, photo: bytes, *, parent: bytes, timestamp_url: str) -> bytes:
        mime = mime_of(photo)
        manifest = manifest_of(parent, mime=mime)
        signed = self._embedded(photo, manifest, mime=mime, timestamp_url=timestamp_url)
        # An index of pictures says where they are, and is signed itself: it has to know of the manifest.
        indexed = with_places_of(photo, signed)
        if indexed is photo:
            return signed
        again = self._embedded(indexed, manifest, mime=mime, timestamp_url=timestamp_url)
        if len(again) != len(signed):
            raise SignerUnusable("The manifest's size is not the same twice.")
        return again

    def _embedded(self, photo: bytes, manifest: dict[str, Any], *, mime: str, timestamp_url: str) -> bytes:
        import c2pa

        out = io.BytesIO()
        info = c2pa.C2paSignerInfo(
            alg=self._checked.algorithm, sign_cert=self._chain_pem, private_key=self._key_pem,
            ta_url=timestamp_url or None,
        )  # fmt: skip
        try:
            with c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest, _context()) as builder:
                builder.sign(signer, mime, io.BytesIO(photo), out)
        except c2pa.C2paError as error:
            # Its text may quote addresses and what certificates hold; the chain of causes has it for the log.
            raise SignerUnusable("The C2PA library cannot sign with this certificate.") from error
        return out.getvalue()

    def _try(self) -> None:
        """Signs a gray picture, without a timestamp, and reads that as a verifier would."""
        import c2pa

        done, encoded = cv2.imencode(".jpg", np.full((16, 16, 3), 127, np.uint8))
        assert done
        photo = encoded.tobytes()
        signed = self._signed(photo, parent=photo, timestamp_url="")
        try:
            with c2pa.Reader("image/jpeg", io.BytesIO(signed), context=_context()) as reader:
                state, found = reader.get_validation_state(), json.loads(reader.json())
        except c2pa.C2paError as error:
            raise SignerUnusable("What is signed with this certificate cannot be read.") from error
        if state == "Invalid":
            codes = sorted({fault["code"] for fault in found.get("validation_status", ())})
            raise SignerUnusable("What is signed with this certificate is not valid.", codes=",".join(codes))


def mime_of(photo: bytes) -> str:
    """The media type of a photo of one of the formats that are written."""
    if jpeg.SIGNATURE.match(photo):
        return "image/jpeg"
    if png.SIGNATURE.match(photo):
        return "image/png"
    if webp.SIGNATURE.match(photo):
        return "image/webp"
    if is_gif(photo):
        return "image/gif"
    if heif.SIGNATURE.match(photo):
        return "image/avif" if photo[8:12] in (b"avif", b"avis") else "image/heic"
    raise SignerUnusable("No manifest fits into such a file.")


@functools.cache
def _context() -> Any:
    import c2pa

    return c2pa.Context.from_dict(CONTEXT)
