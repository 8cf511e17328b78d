"""What `facecloak doctor` looks at for the enrollment service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from enroll_service.server import open_runtime
from enroll_service.settings import EnrollSettings
from facecloak.models.repository import ModelRepository
from facecloak_rpc.checks import MachineUnfit, look_at_finder, look_at_settings, look_at_storage, settings_of
from facecloak_rpc.findings import Check
from facecloak_rpc.proxies import proxy_before
from facecloak_rpc.wire_checks import look_at_wire

_PULL = "facecloak models pull, or point FACECLOAK_MODEL_REPOSITORY at where they are"


def checks() -> Iterator[Check]:
    """Settings first: without them there is nothing else to look at."""
    yield look_at_settings("enroll", EnrollSettings)
    settings = settings_of(EnrollSettings)
    if settings is None:
        return
    yield from look_at_wire("enroll", settings)
    yield from look_at_storage("enroll", settings.store, writing=True)
    yield Check("models", partial(_models, settings), _PULL)
    yield Check("enroll face finder", partial(look_at_finder, settings.model_repository), _PULL)
    if settings.triton.url:
        advice = "check FACECLOAK_ENROLL_TRITON__URL, that Triton runs, and that it serves what `models build` wrote"
        yield Check("recognizers in Triton", partial(_recognizers, settings), _with_proxy(settings.triton.url, advice))
    else:
        yield Check("recognizers", partial(_recognizers, settings), _PULL)


def _with_proxy(target: str, advice: str) -> str:
    proxy = proxy_before(target.rpartition("://")[2])
    return f"{advice}; {proxy}" if proxy else advice


def _models(settings: EnrollSettings) -> str:
    repository = ModelRepository(settings.model_repository)
    names = repository.folders()
    damaged = [name for name in names if not repository.is_intact(name)]
    if damaged:
        raise MachineUnfit(f"damaged in {settings.model_repository}: {', '.join(damaged)}")
    if not names:
        raise MachineUnfit(f"{settings.model_repository} holds no models")
    return f"{len(names)} intact in {settings.model_repository}"


def _recognizers(settings: EnrollSettings) -> str:
    runtime = open_runtime(settings)
    try:
        for name in settings.surrogates:
            runtime.probe(name, gradient=True)
    finally:
        runtime.close()
    place = f"Triton at {settings.triton.url}" if settings.triton.url else "this process"
    return f"{', '.join(settings.surrogates)} give gradients in {place}"
