"""HEIC and AVIF in, HEIC and AVIF out. Their decoders are opened only where the limits' formats have them."""

import re

from facecloak.photos.heif.boxes import top_level
from facecloak.photos.heif.codec import TAG_UUID, decode, tag_box
from facecloak.photos.heif.structure import read_heif

# HEIF's brands, and those of files that may hold a still: 'mif1' says no more than that there is one.
_BRANDS = rb"heic|heix|heim|heis|hevc|hevx|hevm|hevs|avif|avis|mif1|mif2|msf1|miaf|MiHE|MiHB|MiHA|MA1A|MA1B|tmap"
SIGNATURE = re.compile(rb".{4}ftyp(?:" + _BRANDS + rb")", re.DOTALL)

__all__ = ["SIGNATURE", "TAG_UUID", "decode", "read_heif", "tag_box", "top_level"]
