"""Finding faces, their five landmarks, and the aligned crop that recognizers see."""

from facecloak.faces.align import ALIGNED_SIZE, ARCFACE_TEMPLATE, aligned_crop, aligning_transform, inverse_transform
from facecloak.faces.errors import FinderModelMissing, InvalidBox, InvalidLandmarks, InvalidPixels
from facecloak.faces.face import Box, Face
from facecloak.faces.finder import FaceFinder
from facecloak.faces.prominence import main_face
from facecloak.faces.views import WORKING_SIDE_PX, WorkingCopy, longest_looked_at

__all__ = [
    "ALIGNED_SIZE",
    "ARCFACE_TEMPLATE",
    "WORKING_SIDE_PX",
    "Box",
    "Face",
    "FaceFinder",
    "FinderModelMissing",
    "InvalidBox",
    "InvalidLandmarks",
    "InvalidPixels",
    "WorkingCopy",
    "aligned_crop",
    "aligning_transform",
    "inverse_transform",
    "longest_looked_at",
    "main_face",
]
