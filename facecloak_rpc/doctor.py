"""`facecloak doctor`: looks at everything that the services need on this machine, and says what to do.

The services' own checks join through the entry-point group `facecloak.checks`: each entry is a callable that yields
checks. A check is named, returns a :class:`~facecloak_rpc.findings.Finding`, and may raise: that is a finding too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import entry_points

import click

from facecloak_rpc import checks
from facecloak_rpc.connection import Connection
from facecloak_rpc.connection_options import connection_options
from facecloak_rpc.findings import Check, Verdict
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.wire_checks import look_at_server

CHECKS_GROUP = "facecloak.checks"


def all_checks() -> Iterable[Check]:
    """The common checks, then those of each service that is installed."""
    yield Check("versions", checks.look_at_versions, "pip install -c constraints.txt '.[...]' in a new environment")
    yield Check("codec", checks.look_at_codecs, "install the package again: its parts do not fit together")
    yield from checks.look_at_proxies(["localhost:50061", "127.0.0.1:50061"])
    for entry in sorted(entry_points(group=CHECKS_GROUP), key=lambda entry: entry.name):
        try:
            found = entry.load()
        except ModuleNotFoundError as error:
            # Not a failure: a machine that only applies masks has no torch.
            missing = error.name or "a module"
            yield Check(entry.name, lambda missing=missing: f"not looked at: {missing} is not installed", "")  # type: ignore[misc]
            continue
        yield from found()


@click.command()
@click.option("--target", metavar="HOST:PORT", help="Check the server that runs there instead of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@connection_options
def doctor(*, target: str | None, as_json: bool, connection: Connection) -> None:
    """Check versions, codecs, settings, port and certificate, mask store and key, clock, models, Triton and
    proxies; say what to do.

    Reads the services' settings from the environment, as they do. Leaves nothing behind: an object that is written to
    prove that it can be is removed with all its versions. Exit code 1 if anything fails.
    """
    # Warnings of what is tried again say no more than the findings do, and standard output is theirs.
    configure_logging(log_format="console", level="error")
    findings = []
    for check in [look_at_server(target, connection)] if target else all_checks():
        finding = check.run()
        findings.append({"check": check.name, **asdict(finding)})
        if not as_json:
            click.echo(f"{finding.verdict:8}{check.name}: {' '.join(finding.found.split())}")
            if finding.advice:
                click.echo(f"{'':8}-> {finding.advice}")
    failed = any(finding["verdict"] is Verdict.FAILED for finding in findings)
    if as_json:
        click.echo(json.dumps({"healthy": not failed, "findings": findings}, indent=2))
    click.get_current_context().exit(int(failed))


def register(root: click.Group) -> None:
    """Adds doctor."""
    root.add_command(doctor)
