"""Runs the apply service: in this process, or in several that share its port."""

from __future__ import annotations

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from apply_service.supervisor import supervise


def serve(settings: ApplySettings) -> int:
    """Serves until SIGTERM, in as many processes as the settings say; returns the exit status."""
    if settings.worker_count > 1:
        return supervise(settings)
    return build_apply_server(settings).run_until_signal()
