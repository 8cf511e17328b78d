"""What a cloaked photo's manifest says (C2PA Technical Specification 2.4: claim, actions v2, ingredient v3).

Nothing in it shows the scene. The photo that came is an ingredient by title, format and SHA-256 alone: its own manifest
may hold thumbnails of the uncloaked face, at any depth, so none of it is carried along. Thumbnails are made of nothing.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PARENT = "parent"
CONTEXT: dict[str, Any] = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},
    # Nothing is fetched: neither manifests that a photo points to nor the state of certificates.
    "verify": {
        "verify_after_sign": False,
        "verify_trust": False,
        "ocsp_fetch": False,
        "remote_manifest_fetch": False,
    },
}
"""The C2PA library's settings."""


def generator() -> dict[str, str]:
    """The program that made the claim."""
    try:
        return {"name": "FaceCloak", "version": version("facecloak")}
    except PackageNotFoundError:  # run from its sources
        return {"name": "FaceCloak"}


def manifest_of(parent: bytes, *, mime: str) -> dict[str, Any]:
    """The definition of the manifest of a photo that was made from ``parent``, the file that came."""
    return {
        "claim_generator_info": [generator()],
        "title": "Cloaked photo",
        "format": mime,
        "ingredients": [
            {
                "title": "Photo before it was cloaked",
                "format": mime,
                "relationship": "parentOf",
                "instance_id": f"urn:sha256:{hashlib.sha256(parent).hexdigest()}",
                "label": _PARENT,
            }
        ],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {
                    "actions": [
                        {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}},
                        {
                            "action": "c2pa.edited",
                            "description": "A mask against face recognition was added to faces.",
                            "softwareAgent": generator(),
                        },
                    ]
                },
            }
        ],
    }
