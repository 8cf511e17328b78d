"""`facecloak studio`."""

from __future__ import annotations

import webbrowser

import click

from facecloak.errors import FaceCloakError


class PortTaken(FaceCloakError):
    """Something else listens there."""

    reason = "PORT_TAKEN"


@click.command()
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser.")
def studio(*, port: int, opens: bool) -> None:
    """Try masks on a page of this machine: enroll a photo, drop others, and read what recognizers make of them.

    The page is served to this machine only. Photos and masks stay in memory and are gone when the command ends.
    Settings: FACECLOAK_ENROLL_..., as the enroll service has them. Needs the extra `enroll`.
    """
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings
    from facecloak_rpc.logging import configure_logging
    from facecloak_studio.server import StudioServer
    from facecloak_studio.session import StudioSession

    configure_logging(log_format="console", level="warning")
    settings = load_settings(EnrollSettings)
    session = StudioSession(settings.pipeline(), settings.model_repository)
    try:
        server = StudioServer(session, port=port)
    except OSError as error:
        session.close()
        raise PortTaken(f"Port {port} cannot be had: {error.strerror}. Give another by --port.") from error
    click.echo(f"{server.url}  (end with Ctrl-C)")
    if opens:
        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo("ended; nothing was kept")
    finally:
        server.server_close()
        session.close()


def register(root: click.Group) -> None:
    """Adds studio."""
    root.add_command(studio)
