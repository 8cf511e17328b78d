"""Content credentials (C2PA): who says that a photo was cloaked, signed into its file."""

from facecloak.photos.credentials.errors import SignerUnusable, SigningFailed
from facecloak.photos.credentials.signer import ALGORITHMS, PhotoSigner, Signer

__all__ = ["ALGORITHMS", "PhotoSigner", "Signer", "SignerUnusable", "SigningFailed"]
