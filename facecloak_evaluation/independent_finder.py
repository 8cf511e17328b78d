"""The evaluation's own face finder, which shares neither detector nor landmark network with the services'.

Protection is measured as a platform would meet it: with faces found and aligned by other means than those by which the
mask was placed.
"""

from __future__ import annotations

from pathlib import Path

from facecloak.faces.facemesh import FaceMesh
from facecloak.faces.finder import FaceFinder
from facecloak.faces.fr_detect import FrDetect


class AlternateFaceFinder(FaceFinder):
    """`fr_detect` finds, the face mesh places (and says whether a face is there); otherwise as :class:`FaceFinder`."""

    @classmethod
    def load(cls, model_repository: Path, *, threads: int = 1) -> AlternateFaceFinder:
        """Opens the models; raises :class:`FinderModelMissing`, also where the services' finder would do with fewer."""
        mesh = FaceMesh(model_repository, threads=threads)
        return cls(FrDetect(model_repository, threads=threads), mesh, mesh, first_side=1.3)
