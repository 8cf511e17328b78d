"""`facecloak models`: bring, add, list and verify recognizers and face finders; write what Triton serves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facecloak.models.errors import (
    ModelDamaged,
    ModelUnsupported,
    RecognizerUnknown,
    SpecInvalid,
)
from facecloak.models.repository import DEFAULT_FOLDER, FOLDER_VARIABLE, MAX_MODEL_BYTES, ModelRepository
from facecloak.models.spec import MAX_SPEC_BYTES, RecognizerSpec
from facecloak.recognizers.triton.profiles import CPU, PROFILES

if TYPE_CHECKING:
    from facecloak.models.pull import PullReport

_repository_option = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    envvar=FOLDER_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The folder of models.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


def register(root: click.Group) -> None:
    """Add the group to the root command."""
    root.add_command(models)


@click.group()
def models() -> None:
    """Face recognizers and finders: bring, add, list, verify."""


@models.command()
@_repository_option
@click.option("--without-largest", is_flag=True, help="Skip the largest package (145 MB) and the recognizers in it.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=1), default=600.0, show_default=True,
              help="Seconds to wait for one package.")  # fmt: skip
@_json_option
def pull(repository: Path, *, without_largest: bool, timeout_seconds: float, as_json: bool) -> None:
    """Download the default models, convert and verify them. Does nothing if all are in place."""
    from rich.console import Console

    from facecloak.models.pull import PullEvent, PullStep
    from facecloak.models.pull import pull as pull_models

    console = Console(stderr=True, highlight=False)
    with console.status("Checking the models") as status:

        def show(event: PullEvent) -> None:
            if event.step is PullStep.FETCHING:
                status.update(f"Bringing {event.subject} ({event.bytes / 1e6:.0f} MB)")
            elif event.step is PullStep.CONVERTING:
                status.update(f"Converting and verifying {event.subject}")
            elif event.step is PullStep.WRITTEN and not as_json:
                console.print(f"{event.subject}: ready")

        report = pull_models(
            ModelRepository(repository), skip_largest=without_largest, progress=show, deadline_seconds=timeout_seconds
        )
    if as_json:
        _print_json({"current": report.current, "written": report.written, "skipped": report.skipped})
    else:
        click.echo(_summary(report, repository))


@models.command()
@click.argument("spec_path", metavar="SPEC.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("onnx_path", metavar="ONNX", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_repository_option
@click.option("--evaluator-only", is_flag=True, help="Measure with it, never learn from it: no gradient graph is made.")
@click.option("--replace", is_flag=True, help="Replace a model of the same name.")
@_json_option
def add(
    spec_path: Path, onnx_path: Path, repository: Path, *, evaluator_only: bool, replace: bool, as_json: bool
) -> None:
    """Add your own recognizer: an ONNX file and its spec (docs/recognizers.md)."""
    from facecloak.models.add import add_recognizer

    spec = add_recognizer(
        ModelRepository(repository),
        spec_toml=_read(spec_path, limit=MAX_SPEC_BYTES, error=SpecInvalid),
        onnx_file=_read(onnx_path, limit=MAX_MODEL_BYTES, error=ModelUnsupported),
        with_gradient=not evaluator_only,
        replace_existing=replace,
    )
    if as_json:
        _print_json(_describe(spec))
    else:
        use = "surrogate and evaluator" if spec.has_gradient else "evaluator only"
        click.echo(f"{spec.name}: added ({use}, embeddings of {spec.embedding_size})")


@models.command(name="list")
@_repository_option
@_json_option
def list_models(repository: Path, *, as_json: bool) -> None:
    """List the models that are in place."""
    store = ModelRepository(repository)
    specs = [store.spec(name) for name in store.names()]
    if as_json:
        _print_json([_describe(spec) for spec in specs])
        return
    if not specs:
        click.echo(f"no models in {repository}: run `facecloak models pull`", err=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "embedding", "use", "license", "source", box=None, pad_edge=False)
    for spec in specs:
        use = ("surrogate" if spec.has_gradient else "evaluator") if spec.is_recognizer else "finder"
        source = f"{spec.source.package}@{spec.source.version}" if spec.source.package else "added"
        table.add_row(spec.name, str(spec.kind), str(spec.embedding_size or ""), use, spec.license or "?", source)
    # A pipe has no width: without one given, rich would cut the columns at 80.
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


@models.command()
@_repository_option
@_json_option
@click.pass_context
def verify(context: click.Context, repository: Path, *, as_json: bool) -> None:
    """Check every model's digest, run it, and compare its gradient with finite differences."""
    from facecloak.models.verify import verify_stored

    store = ModelRepository(repository)
    faults = {name: verify_stored(store, name) for name in store.folders()}
    if not faults:
        raise RecognizerUnknown("there are no models to verify: run `facecloak models pull`")
    if as_json:
        _print_json({name: {"intact": fault is None, "fault": fault} for name, fault in faults.items()})
    else:
        for name, fault in faults.items():
            click.echo(f"{name}: {'intact' if fault is None else fault}")
    if any(fault is not None for fault in faults.values()):
        context.exit(1)


@models.command()
@click.argument("names", nargs=-1)
@_repository_option
@click.option("--profile", type=click.Choice(list(PROFILES)), default=CPU.name, show_default=True,
              help="The kind of machine that Triton runs on.")  # fmt: skip
@click.option("--output", type=click.Path(file_okay=False, path_type=Path),
              help="Write a repository of its own that holds nothing but what is served.")  # fmt: skip
@click.option("--instances", type=click.IntRange(1, 64), help="Copies of each graph that run side by side.")
@click.option("--threads", type=click.IntRange(0, 256), help="CPU threads within one operator; 0 is one a core.")
@_json_option
def build(
    names: tuple[str, ...], repository: Path, *, profile: str, output: Path | None, instances: int | None,
    threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Write Triton's config.pbtxt for the recognizers NAMES (all if none is given).

    For each recognizer Triton then serves NAME, which embeds, and NAME_grad, which also gives loss and gradient.
    Start it with --model-control-mode=explicit and one --load-model=... for each name that is printed, or give
    --output.
    """
    from dataclasses import replace

    from facecloak.recognizers.triton.write_repository import build_repository

    chosen = PROFILES[profile]
    if instances is not None:
        chosen = replace(chosen, instances=instances)
    if threads is not None:
        chosen = replace(chosen, threads=threads)
    built = build_repository(ModelRepository(repository), profile=chosen, names=names, output=output)
    if as_json:
        _print_json({"root": str(built.root), "profile": chosen.name, "models": list(built.models)})
    else:
        click.echo(f"{built.root}: {chosen.name} configuration of {', '.join(built.models)}")


def _summary(report: PullReport, repository: Path) -> str:
    total = len(report.current) + len(report.written)
    text = f"{total} models in {repository} ({len(report.written)} new)"
    if report.skipped:
        text += f"; skipped as the largest download: {', '.join(report.skipped)}"
    return text


def _describe(spec: RecognizerSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "kind": str(spec.kind),
        "embedding_size": spec.embedding_size,
        "surrogate": spec.has_gradient,
        "license": spec.license,
        "permitted_use": spec.permitted_use,
        "package": spec.source.package,
        "version": spec.source.version,
        "weights_sha256": spec.source.weights_sha256,
        "model_sha256": spec.model_sha256,
    }


def _read(path: Path, *, limit: int, error: type[SpecInvalid] | type[ModelUnsupported]) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as fault:
        raise ModelDamaged(f"{path.name} cannot be read") from fault
    if len(data) > limit:
        raise error(f"{path.name} is larger than {limit} bytes", limit=limit)
    return data


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
