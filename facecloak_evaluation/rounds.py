"""What `facecloak evaluate` is to measure: rounds of surrogates and evaluators, settings, and the line to repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facecloak_evaluation.errors import PlanInvalid

if TYPE_CHECKING:
    from enroll_service.pipeline import PipelineSettings
    from facecloak_evaluation.face_extraction import Embedder
    from facecloak_evaluation.protocol import EvaluationProtocol


@dataclass(frozen=True)
class RoundPlan:
    """One set of masks and who evaluates them."""

    surrogates: tuple[str, ...]
    evaluators: tuple[str, ...]


def plan_rounds(
    *, recognizers: Sequence[str], surrogates: Sequence[str], settings: PipelineSettings | None, leave_one_out: bool
) -> tuple[RoundPlan, ...]:
    learned = tuple(surrogates) or (settings.surrogates if settings else ())
    if not leave_one_out:
        if not recognizers:
            raise PlanInvalid("name the evaluators (--recognizer), or leave surrogates out in turn (--leave-one-out)")
        return (RoundPlan(surrogates=learned, evaluators=tuple(dict.fromkeys(recognizers))),)
    # Whoever is no surrogate needs not be left out to evaluate.
    always = tuple(name for name in dict.fromkeys(recognizers) if name not in learned)
    left_out = tuple(name for name in dict.fromkeys(recognizers) if name in learned) or learned
    if len(learned) < 2:
        raise PlanInvalid("leaving one surrogate out (--leave-one-out) needs two surrogates or more")
    return tuple(
        RoundPlan(surrogates=tuple(name for name in learned if name != evaluator), evaluators=(evaluator, *always))
        for evaluator in left_out
    )


def refuse_overlap(plans: Sequence[RoundPlan], repository: Path, *, runtime: Embedder) -> None:
    """Every round's overlap, before hours are spent on the first. `runtime` runs the evaluators."""
    from facecloak.models.repository import ModelRepository
    from facecloak_evaluation.surrogate_guard import RecognizerIdentity, refuse_surrogates

    models = ModelRepository(repository)
    for plan in plans:
        refuse_surrogates(
            evaluators=[RecognizerIdentity.of(runtime.spec(name)) for name in plan.evaluators],
            surrogates=[RecognizerIdentity.of(models.spec(name)) for name in plan.surrogates],
        )


def pipeline_settings(overrides: Sequence[str]) -> PipelineSettings:
    """The service's own settings (environment and recipe included), with what `--set` changes: a setting, such as
    masks=4, or a part of the recipe, such as perturb.iterations=40."""
    from pydantic import ValidationError

    from enroll_service.pipeline import PipelineSettings
    from enroll_service.settings import EnrollSettings
    from facecloak_rpc.command import load_settings

    values: dict[str, Any] = load_settings(EnrollSettings).pipeline().model_dump(mode="json")
    for override in overrides:
        path, equals, text = override.partition("=")
        *groups, field = path.split(".")
        target: Any = values if path.split(".")[0] in values else values["recipe"]
        for group in groups:
            target = target.get(group) if isinstance(target, dict) else None
        if not equals or not isinstance(target, dict) or field not in target:
            raise click.UsageError(
                f"--set {override}: no such setting; write FIELD=VALUE, such as perturb.iterations=40"
            )
        try:
            target[field] = json.loads(text)
        except ValueError:
            target[field] = text
    try:
        return PipelineSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise click.UsageError(f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def changed_settings(settings: PipelineSettings) -> tuple[str, ...]:
    """The FIELD=VALUE, as ``--set`` takes them, that make the default settings these."""
    from enroll_service.pipeline import PipelineSettings

    def changed(now: dict[str, Any], default: dict[str, Any], prefix: str) -> Iterator[str]:
        for name, value in now.items():
            if isinstance(value, dict):
                # A part of the recipe is written without its name.
                yield from changed(value, default[name], "" if name == "recipe" else f"{prefix}{name}.")
            elif value != default[name]:
                yield f"{prefix}{name}={value if isinstance(value, str) else json.dumps(value)}"

    return tuple(changed(settings.model_dump(mode="json"), PipelineSettings().model_dump(mode="json"), ""))


def command_line(
    protocol: EvaluationProtocol, *, settings: PipelineSettings | None, recognizers: Sequence[str],
    surrogates: Sequence[str], people_slice: str | None, leave_one_out: bool, others: bool, compare: bool,
) -> str:  # fmt: skip
    """What to type to repeat the measurement; folders are the reader's own. ``settings``: None of running services."""
    overrides = changed_settings(settings) if settings is not None else ()
    parts = ["facecloak evaluate --people PEOPLE"] + ["--others OTHERS"] * others
    parts += [f"--people-slice {people_slice}"] * bool(people_slice) + ["--leave-one-out"] * leave_one_out
    parts += ["--enroll-target HOST:PORT --apply-target HOST:PORT"] * (settings is None)
    for option, values in (("recognizer", recognizers), ("surrogate", surrogates), ("set", overrides)):
        parts += [f"--{option} {shlex.quote(value)}" for value in values]
    parts += [f"--platform {name}" for name in protocol.platforms]
    parts += [f"--enroll-photos {','.join(map(str, protocol.enroll_photos))}"] * bool(protocol.enroll_photos)
    parts += [f"--gallery-photos {','.join(map(str, protocol.gallery_photos))}"]
    parts += [f"--probe-photos {','.join(map(str, protocol.probe_photos))}"]
    parts += [f"--strength {factor:g}" for factor in protocol.strengths]
    parts += [f"--extraction {','.join(map(str, protocol.extraction_photos))}"] * bool(protocol.extraction_photos)
    parts += ["--purify"] * protocol.purify
    parts += ["--surrogates-too"] * protocol.surrogates_too
    parts += ["--reapply"] * protocol.reapply + ["--compare reference"] * compare
    return " ".join([*parts, f"--seed {protocol.seed}", "--json RESULT.json"])
