"""What `facecloak doctor` looks at that both services need: versions, codecs, the mask store and the clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import numpy as np
from packaging.requirements import Requirement
from urllib3.exceptions import HTTPError

from facecloak.call_context import within
from facecloak.errors import FaceCloakError
from facecloak.faces import FaceFinder
from facecloak.stores import StoreUnavailable
from facecloak.stores.s3.answers import fault_of, unavailable
from facecloak_rpc.addresses import host_and_port
from facecloak_rpc.command import load_settings
from facecloak_rpc.findings import Check, Finding, Verdict
from facecloak_rpc.proxies import proxy_before
from facecloak_rpc.settings import RpcSettings
from facecloak_rpc.storage import StoreSettings, open_configured_store, s3_connection

_ASK_SECONDS = 5.0
# S3 refuses requests signed more than 15 minutes off (AWS Signature Version 4); a minute is a clock that nobody sets.
_WORST_CLOCK_SECONDS = 60.0


class MachineUnfit(FaceCloakError):
    """Something on this machine is not as FaceCloak needs it; the message says what."""

    reason = "MACHINE_UNFIT"


Settings = TypeVar("Settings", bound=RpcSettings)


def settings_of(settings_class: type[Settings]) -> Settings | None:
    """The settings that the environment gives; None where it gives none: :func:`look_at_settings` says why."""
    try:
        return load_settings(settings_class)
    except Exception:  # noqa: BLE001 - the check tells
        return None


def look_at_settings(service: str, settings_class: type[RpcSettings]) -> Check:
    """Whether a service understands its environment; ``service`` is its short name."""

    def look() -> str:
        settings = load_settings(settings_class)
        return f"understood; would listen on {host_and_port(settings.host, settings.port)}"

    advice = f"mend the variable; `python -m {service}_service --print-config` lists all"
    return Check(f"{service} settings", look, advice)


def look_at_storage(service: str, settings: StoreSettings, *, writing: bool) -> Iterator[Check]:
    """The store of a service, and whether this machine's clock fits it."""
    may = "write" if writing else "read"
    yield Check(
        f"{service} store", partial(look_at_store, settings, writing=writing),
        f"check FACECLOAK_{service.upper()}_STORE__*, the key, the S3 server, and that the credentials may {may} and "
        "list",
    )  # fmt: skip
    yield Check(f"{service} clock", partial(look_at_clock, settings), "set the clock by NTP; check the S3 endpoint")


def look_at_finder(model_repository: Path, *, threads: int = 1) -> str:
    """Whether the face finder runs."""
    FaceFinder.load(model_repository, threads=threads).find(np.full((64, 64, 3), 127, np.uint8))
    return f"runs from {model_repository}"


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
    if _installed("facecloak-client"):
        wrong.append("facecloak has the client inside: uninstall facecloak-client, then install facecloak anew")
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
    """Whether the mask store answers, to reading alone or to writing too, and was sealed with this key. Makes neither
    store nor key: the service does, when it starts."""
    if settings.is_untouched:
        return f"{settings.place} is not there yet: the first start makes it, and {settings.key_path}"
    store = open_configured_store(settings, begins=False)
    started = time.perf_counter()
    try:
        store.probe_reading()
    except StoreUnavailable as error:
        if error.fault not in ("NoStoreHere", "FolderMissing"):
            raise
        empty = f"{settings.place} holds neither masks nor a key check"
        if writing and error.fault == "NoStoreHere":
            store.prove_writing()
            return f"{empty}, and can be written: the first start begins a new store there"
        return Finding(Verdict.WARNING, f"{empty}: right only before enroll's first start", error.advice)
    if writing:
        store.prove_writing()
        try:
            store.place.prove_conditions()
        except StoreUnavailable as error:
            if error.fault != "NoConditions":
                raise
            return Finding(Verdict.WARNING, f"{settings.place} works, and takes no conditional writes", error.advice)
    milliseconds = round((time.perf_counter() - started) * 1000)
    done = "read and written" if writing else "read"
    return f"{settings.place} was {done} in {milliseconds} ms, and sealed with this key"


def look_at_proxies(targets: Iterable[str]) -> Iterator[Check]:
    """A check where the environment names a proxy that gRPC takes for one of ``targets``, or for this machine."""
    found = [text for target in targets if (text := proxy_before(target))]
    if found:
        advice = "add these hosts to no_proxy, in lower case: gRPC does not say in its errors that a proxy was there"
        yield Check("proxy", lambda: Finding(Verdict.WARNING, "; ".join(found), advice), advice)


def look_at_clock(settings: StoreSettings) -> Finding | str:
    """How far this machine's clock is from the S3 server's, which refuses requests that are signed at another time."""
    now = datetime.now(UTC)
    connection = s3_connection(settings)
    if connection is None:
        if now.year < 2026:
            raise MachineUnfit(f"the clock says {now:%Y-%m-%d}")
        return f"{now:%Y-%m-%d %H:%M:%S} UTC, compared with no other: the store is a folder"
    url = f"{'https' if settings.s3_secure else 'http'}://{settings.s3_endpoint}/"
    try:
        with within(_ASK_SECONDS), connection.pool() as pool:
            date = pool.request("HEAD", url, retries=False).headers.get("Date", "")
    except HTTPError as error:
        raise unavailable(fault_of(error)) from error
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
