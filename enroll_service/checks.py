"""What `facecloak doctor` looks at for the enrollment service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from enroll_service.server import open_runtime
from enroll_service.settings import EnrollSettings
from facecloak.faces import FaceFinder
from facecloak.models.repository import ModelRepository
from facecloak_rpc.addresses import host_and_port
from facecloak_rpc.checks import MachineUnfit, look_at_clock, look_at_store
from facecloak_rpc.command import load_settings
from facecloak_rpc.findings import Check
from facecloak_rpc.proxies import proxy_before

_PULL = "facecloak models pull, or point FACECLOAK_MODEL_REPOSITORY at where they are"


def checks() -> Iterator[Check]:
    """Settings first: without them there is nothing else to look at."""
    yield Check("enroll settings", _settings, "mend the variable; `python -m enroll_service --print-config` lists all")
    try:
        settings = load_settings(EnrollSettings)
    except Exception:  # noqa: BLE001 - the check above tells
        return
    yield Check(
        "enroll store", partial(look_at_store, settings.store, writing=True),
        "check FACECLOAK_ENROLL_STORE__*, the key, the S3 server, and that the credentials may write and list",
    )  # fmt: skip
    yield Check("enroll clock", partial(look_at_clock, settings.store), "set the clock by NTP; check the S3 endpoint")
    yield Check("models", partial(_models, settings), _PULL)
    yield Check("enroll face finder", partial(_finder, settings), _PULL)
    if settings.triton.url:
        advice = "check FACECLOAK_ENROLL_TRITON__URL, that Triton runs, and that it serves what `models build` wrote"
        yield Check("recognizers in Triton", partial(_recognizers, settings), _with_proxy(settings.triton.url, advice))
    else:
        yield Check("recognizers", partial(_recognizers, settings), _PULL)


def _with_proxy(target: str, advice: str) -> str:
    proxy = proxy_before(target.rpartition("://")[2])
    return f"{advice}; {proxy}" if proxy else advice


def _settings() -> str:
    settings = load_settings(EnrollSettings)
    return f"understood; would listen on {host_and_port(settings.host, settings.port)}"


def _models(settings: EnrollSettings) -> str:
    repository = ModelRepository(settings.model_repository)
    names = repository.folders()
    damaged = [name for name in names if not repository.is_intact(name)]
    if damaged:
        raise MachineUnfit(f"damaged in {settings.model_repository}: {', '.join(damaged)}")
    if not names:
        raise MachineUnfit(f"{settings.model_repository} holds no models")
    return f"{len(names)} intact in {settings.model_repository}"


def _finder(settings: EnrollSettings) -> str:
    FaceFinder.load(settings.model_repository).find(np.full((64, 64, 3), 127, np.uint8))
    return "runs"


def _recognizers(settings: EnrollSettings) -> str:
    runtime = open_runtime(settings)
    crop = np.full((1, 3, 112, 112), 127.0, np.float32)
    try:
        for name in settings.surrogates:
            nothing = np.zeros((1, runtime.spec(name).embedding_size), np.float32)
            runtime.gradient(name, crop, far=nothing, near=nothing)
    finally:
        runtime.close()
    place = f"Triton at {settings.triton.url}" if settings.triton.url else "this process"
    return f"{', '.join(settings.surrogates)} give gradients in {place}"
