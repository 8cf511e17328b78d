"""What `facecloak doctor` looks at for the apply service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from apply_service.c2pa_signer import C2paSettings, load_signer
from apply_service.settings import ApplySettings
from facecloak_rpc.checks import look_at_finder, look_at_settings, look_at_storage, settings_of
from facecloak_rpc.findings import Check
from facecloak_rpc.wire_checks import look_at_wire


def checks() -> Iterator[Check]:
    """Settings first: without them there is nothing else to look at."""
    yield look_at_settings("apply", ApplySettings)
    settings = settings_of(ApplySettings)
    if settings is None:
        return
    yield from look_at_wire("apply", settings)
    yield from look_at_storage("apply", settings.store, writing=False)
    look = partial(look_at_finder, settings.model_repository, threads=settings.threads)
    yield Check("apply face finder", look, "facecloak models pull, or FACECLOAK_MODEL_REPOSITORY")
    if settings.c2pa.certificates is not None:
        look = partial(_look_at_signer, settings.c2pa)
        yield Check("apply content credentials", look, "a certificate and key for C2PA (docs/operations.md)")


def _look_at_signer(settings: C2paSettings) -> str:
    signer = load_signer(settings)
    return f"signs by {signer.algorithm}, until {signer.ends_at:%Y-%m-%d}"
