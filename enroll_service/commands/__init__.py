"""Commands of the enrollment service; they join `facecloak` through its entry-point group."""

from __future__ import annotations

import click

from enroll_service.commands.anchors import anchors
from enroll_service.commands.delete import delete
from enroll_service.commands.enroll import enroll
from enroll_service.commands.pool import pool
from enroll_service.commands.serve import serve_enroll


def register(root: click.Group) -> None:
    """Adds enroll, delete, anchors, pool and `serve enroll`."""
    for command in (enroll, delete, anchors, pool):
        root.add_command(command)
    serve = root.commands.get("serve")
    if isinstance(serve, click.Group):
        serve.add_command(serve_enroll)
