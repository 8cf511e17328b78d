"""Commands of the enrollment service; they join `facecloak` through its entry-point group."""

from __future__ import annotations

import click

from enroll_service.commands.anchors import anchors
from enroll_service.commands.audit import audit
from enroll_service.commands.delete import delete
from enroll_service.commands.enroll import enroll
from enroll_service.commands.erase_expired import erase_expired
from enroll_service.commands.keys import keys
from enroll_service.commands.list_enrollments import list_enrollments
from enroll_service.commands.pool import pool
from enroll_service.commands.receipt import receipt
from enroll_service.commands.serve import serve_enroll


def register(root: click.Group) -> None:
    """Adds the commands, and `serve enroll`."""
    for command in (enroll, list_enrollments, delete, erase_expired, keys, audit, receipt, anchors, pool):
        root.add_command(command)
    serve = root.commands.get("serve")
    if isinstance(serve, click.Group):
        serve.add_command(serve_enroll)
