"""What `facecloak doctor` looks at that both services need: versions, codecs, the mask store and the clock."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata

import numpy as np
import urllib3
from packaging.requirements import Requirement

from facecloak.errors import FaceCloakError
from facecloak_rpc.findings import Finding, Verdict
from facecloak_rpc.storage import StoreSettings, open_configured_store

_ASK_SECONDS = 5.0
# S3 refuses requests signed more than 15 minutes off (AWS Signature Version 4); a minute is a clock that nobody sets.
_WORST_CLOCK_SECONDS = 60.0


class MachineUnfit(FaceCloakError):
    """Something on this machine is not as FaceCloak needs it; the message says what."""

    reason = "MACHINE_UNFIT"


def look_at_versions() -> Finding | str:
    """Whether the installed packages are those that this release asks for."""
    wrong = []
    for text in metadata.requires("facecloak") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            # The GPU's engine replaces the other one under the same module name.
            if requirement.name != "onnxruntime" or not _installed("onnxruntime-gpu"):
                wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        wrong.append("onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, install one")
    if wrong:
        raise MachineUnfit("; ".join(wrong))
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"facecloak {metadata.version('facecloak')} on Python {python}, all requirements met"


def look_at_codecs() -> Finding | str:
    """Whether a photo survives encoding and decoding in each format, and JPEGs can be spliced."""
    import cv2

    from facecloak.photos import decode_photo, encode_photo, native_splice

    ramp = np.indices((48, 64)).sum(axis=0)
    srgb_u8 = np.stack([ramp, 2 * ramp, 255 - ramp], axis=-1).astype(np.uint8)
    for extension in ("jpg", "png", "webp"):
        _, encoded = cv2.imencode(f".{extension}", srgb_u8[..., ::-1])
        photo = decode_photo(encoded.tobytes())
        again = decode_photo(encode_photo(photo, photo.srgb_u8))
        if np.abs(again.srgb_u8.astype(int) - srgb_u8).mean() > 8:
            raise MachineUnfit(f"a photo does not survive {extension}")
    if not native_splice.is_available():
        advice = "install with a Rust compiler on the PATH, or from a wheel: JPEGs then take less time and lose less"
        return Finding(Verdict.WARNING, "JPEG, PNG and WebP work; the splice codec was not built", advice)
    return "JPEG, PNG and WebP work, JPEGs are spliced"


def look_at_store(settings: StoreSettings, *, writing: bool) -> Finding | str:
    """Whether the mask store answers: to writing and reading, or to reading alone."""
    store = open_configured_store(settings)
    started = time.perf_counter()
    store.probe() if writing else store.probe_reading()
    milliseconds = round((time.perf_counter() - started) * 1000)
    place = settings.url or f"{settings.data / 'masks'} (local)"
    return f"{place} was {'written and read' if writing else 'read'} in {milliseconds} ms"


def look_at_clock(settings: StoreSettings) -> Finding | str:
    """How far this machine's clock is from the S3 server's, which refuses requests that are signed at another time."""
    now = datetime.now(UTC)
    if not settings.s3_endpoint:
        if now.year < 2026:
            raise MachineUnfit(f"the clock says {now:%Y-%m-%d}")
        return f"{now:%Y-%m-%d %H:%M:%S} UTC, compared with no other: the store is a folder"
    url = f"{'https' if settings.s3_secure else 'http'}://{settings.s3_endpoint}/"
    with urllib3.PoolManager(timeout=_ASK_SECONDS, retries=False) as pool:
        date = pool.request("HEAD", url).headers.get("Date", "")
    if not date:
        return "the S3 server does not say what time it is"
    ahead = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    if abs(ahead) > _WORST_CLOCK_SECONDS:
        raise MachineUnfit(f"this clock is {ahead:+.0f} s from the S3 server's")
    return f"within {abs(ahead):.0f} s of the S3 server's"


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
