"""What `facecloak doctor` looks at for the apply service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from apply_service.settings import ApplySettings
from facecloak.faces import FaceFinder
from facecloak_rpc.addresses import host_and_port
from facecloak_rpc.checks import look_at_clock, look_at_store
from facecloak_rpc.command import load_settings
from facecloak_rpc.findings import Check


def checks() -> Iterator[Check]:
    """Settings first: without them there is nothing else to look at."""
    yield Check("apply settings", _settings, "mend the variable; `python -m apply_service --print-config` lists all")
    try:
        settings = load_settings(ApplySettings)
    except Exception:  # noqa: BLE001 - the check above tells
        return
    yield Check(
        "apply store", partial(look_at_store, settings.store, writing=False),
        "check FACECLOAK_APPLY_STORE__*, the key, the S3 server, and that the credentials may read and list",
    )  # fmt: skip
    yield Check("apply clock", partial(look_at_clock, settings.store), "set the clock by NTP; check the S3 endpoint")
    yield Check("apply face finder", partial(_finder, settings), "facecloak models pull, or FACECLOAK_MODEL_REPOSITORY")


def _settings() -> str:
    settings = load_settings(ApplySettings)
    return f"understood; would listen on {host_and_port(settings.host, settings.port)}"


def _finder(settings: ApplySettings) -> str:
    finder = FaceFinder.load(settings.model_repository, threads=settings.threads)
    finder.find(np.full((64, 64, 3), 127, np.uint8))
    return f"runs from {settings.model_repository}"
