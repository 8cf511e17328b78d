"""`facecloak enroll --validate-only`: what an enrollment would be told, by the service or in process."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enroll_service.jobs.request import EnrollmentRequest
    from enroll_service.validation import Validation
    from facecloak_rpc.connection import Connection


def validate_remotely(
    request: EnrollmentRequest, *, target: str, timeout_seconds: float, connection: Connection
) -> Validation:
    """Raises RemoteError."""
    from enroll_service import convert
    from facecloak_rpc.client import open_client, remote_errors

    message = convert.request_to(request)
    with open_client(enroll=target, connection=connection) as client, remote_errors(target):
        told = client.validate(
            message.user_id,
            message.photos,
            options=message.options,
            consent=message.consent if message.HasField("consent") else None,
            timeout_s=timeout_seconds,
        )
    return convert.validation_from(told)


def validate_here(request: EnrollmentRequest, *, data: Path | None) -> Validation:
    """In this process, on the local store. Raises what the enrollment would."""
    from enroll_service.server import build_domain
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.logging import configure_logging

    configure_logging(log_format="console", level="warning")
    settings = load_settings(EnrollSettings, data=data)
    with ExitStack() as stack:
        if settings.store.is_untouched:
            # To look is no reason to begin a store; an empty one elsewhere says the same.
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            settings = load_settings(EnrollSettings, data=Path(folder))
        domain = build_domain(settings)
        stack.callback(domain.close)
        return domain.enrollments.validate(request, cancelled=lambda: False)


def as_json(validation: Validation) -> str:
    """One document."""
    left_out = [{"photo": photo, "reason": reason} for photo, reason in validation.left_out]
    document = {
        "photo_count": validation.photo_count, "photos_left_out": left_out, "warnings": list(validation.warnings),
    }  # fmt: skip
    return json.dumps(document, indent=2, sort_keys=True)


def as_text(validation: Validation) -> str:
    """A few lines."""
    photos = "1 photo" if validation.photo_count == 1 else f"{validation.photo_count} photos"
    return "\n".join([f"{photos} would be learned from", *(f"warning: {warning}" for warning in validation.warnings)])
