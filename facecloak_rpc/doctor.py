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
from facecloak_rpc.findings import Check, Verdict
from facecloak_rpc.logging import configure_logging

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
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Check versions, codecs, settings, mask store and key, clock, models, Triton and proxies; say what to do.

    Reads the services' settings from the environment, as they do. Leaves nothing behind: an object that is written to
    prove that it can be is removed with all its versions. Exit code 1 if anything fails.
    """
    # Warnings of what is tried again say no more than the findings do, and standard output is theirs.
    configure_logging(log_format="console", level="error")
    findings = []
    for check in all_checks():
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
