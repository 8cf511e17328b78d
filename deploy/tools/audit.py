"""Known vulnerabilities of what the images are made of, from advisories in a local file: nothing is asked of a network.

    python -m deploy.tools.audit --advisories all.zip       # OSV's file of PyPI's advisories, or a folder of OSV JSON
    python -m deploy.tools.audit --advisories all.zip --ignore GHSA-...    # looked at, and no concern here

OSV publishes the file as osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip. Without it nothing is checked, which
is exit code 2: never the same as nothing found. Exit code 1: something is known of a package.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from packaging.version import InvalidVersion, Version

from deploy.tools.lock import canonical
from deploy.tools.sbom import CONTENTS, packages_of

_SIZE_LIMIT = 16 * 2**20
"""Of one advisory, bytes; the largest are some hundred kilobytes."""


@dataclass(frozen=True)
class Hit:
    """An advisory that is about a package's version."""

    package: str
    version: str
    advisory: str
    summary: str
    fixed: tuple[str, ...]


class AdvisoriesUnusable(Exception):
    """The file or folder has no advisories of PyPI that can be read."""


def read_advisories(place: Path) -> list[dict[str, Any]]:
    """All advisories, in OSV's schema, of a zip, a folder or one file. Raises AdvisoriesUnusable."""
    try:
        found = [json.loads(text) for text in _texts(place)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise AdvisoriesUnusable(f"{place}: {error}") from error
    found = [one for one in found if isinstance(one, dict) and any(_of_pypi(part) for part in one.get("affected", []))]
    if not found:
        raise AdvisoriesUnusable(f"{place} has no advisory of PyPI in OSV's schema")
    return found


def hits(packages: Mapping[str, str], advisories: Sequence[Mapping[str, Any]]) -> list[Hit]:
    """Which advisories are about these packages (canonical name -> version), sorted by package."""
    found = []
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory["affected"]:
            name = canonical(affected["package"]["name"]) if _of_pypi(affected) else ""
            if name in packages and is_affected(packages[name], affected):
                summary = str(advisory.get("summary") or advisory.get("details", "")).strip().partition("\n")[0]
                fixed = tuple(sorted({event["fixed"] for event in _events(affected) if "fixed" in event}))
                found.append(Hit(name, packages[name], str(advisory["id"]), summary, fixed))
    return sorted(set(found), key=lambda hit: (hit.package, hit.advisory))


def is_affected(version: str, affected: Mapping[str, Any]) -> bool:
    """Whether a version is among those that OSV names: one by one, or by ranges (schema 1.7, "evaluation")."""
    if version in affected.get("versions", []):
        return True
    wanted = Version(version)
    for one in affected.get("ranges", []):
        if one.get("type") == "ECOSYSTEM" and _is_in(wanted, one.get("events", [])):
            return True
    return False


def _is_in(wanted: Version, events: Sequence[Mapping[str, str]]) -> bool:
    inside = False
    for kind, at in sorted(_dated(events), key=lambda event: (event[1], event[0] == "last_affected")):
        if kind == "introduced" and at <= wanted:
            inside = True
        elif (kind == "fixed" and at <= wanted) or (kind == "last_affected" and at < wanted):
            inside = False
    return inside


def _dated(events: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, Version]]:
    for event in events:
        for kind, value in event.items():
            try:
                yield kind, Version("0.dev0" if value == "0" else value)
            except InvalidVersion:
                continue


def _events(affected: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    for one in affected.get("ranges", []):
        if one.get("type") == "ECOSYSTEM":
            yield from one.get("events", [])


def _of_pypi(affected: Any) -> bool:
    return affected.get("package", {}).get("ecosystem") == "PyPI"


def _texts(place: Path) -> Iterator[str]:
    if place.is_dir():
        yield from (path.read_text() for path in sorted(place.rglob("*.json")))
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json") and entry.file_size <= _SIZE_LIMIT:
                    yield archive.read(entry).decode()
    else:
        yield place.read_text()


@click.command()
@click.option("--advisories", type=click.Path(path_type=Path), help="A zip or a folder of advisories in OSV's schema.")
@click.option("--ignore", "ignored", multiple=True, metavar="ID", help="An advisory that was looked at.")
def main(*, advisories: Path | None, ignored: Sequence[str]) -> None:
    """Say what is known of the packages in the images."""
    if advisories is None:
        click.echo(
            "nothing was checked: no advisories were given. Bring OSV's PyPI/all.zip where there is a network", err=True
        )
        sys.exit(2)
    try:
        known = read_advisories(advisories)
    except AdvisoriesUnusable as error:
        click.echo(f"nothing was checked: {error}", err=True)
        sys.exit(2)
    newest = max(str(one.get("modified", "")) for one in known)
    left = 0
    for image in CONTENTS:
        for hit in hits(packages_of(image), known):
            if hit.advisory not in ignored:
                left += 1
                cure = f"fixed in {', '.join(hit.fixed)}" if hit.fixed else "no release fixes it"
                click.echo(f"{image}: {hit.package} {hit.version}: {hit.advisory}: {hit.summary} ({cure})")
    click.echo(
        f"{len(known)} advisories, the newest of {newest or 'no date'}: {left or 'none'} about what the images hold"
    )
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
