"""`facecloak serve enroll`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facecloak_rpc.command import serve_command

if TYPE_CHECKING:
    from facecloak_rpc.settings import RpcSettings


def _settings_class() -> type[RpcSettings]:
    from enroll_service.settings import EnrollSettings

    return EnrollSettings


def _run(settings: Any) -> int:
    from enroll_service.server import serve

    return serve(settings)


serve_enroll = serve_command(
    "enroll",
    summary="Run the enrollment service until SIGTERM. Settings: FACECLOAK_ENROLL_... (see --print-config).",
    settings_class=_settings_class,
    run=_run,
)
