"""Measuring protection from a program: :func:`facecloak.evaluate`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecloak.extras import naming_the_extra
from facecloak.models.repository import default_folder

if TYPE_CHECKING:
    from enroll_service.pipeline import PipelineSettings
    from facecloak_evaluation.protocol import EvaluationProtocol

Folder = str | os.PathLike[str]


def evaluate(
    people: Folder,
    *,
    recognizers: Sequence[str] = (),
    others: Folder | None = None,
    people_slice: str | None = None,
    surrogates: Sequence[str] = (),
    leave_one_out: bool = False,
    settings: PipelineSettings | None = None,
    protocol: EvaluationProtocol | None = None,
    compare: bool = False,
    jobs: int = 1,
    work: Folder | None = None,
    model_repository: Folder | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Enroll one photo of each person, cloak others, and let recognizers that no mask saw look for the people.

    It is what ``facecloak evaluate`` does, and gives what its ``--json`` holds: ``headline`` has the share of cloaked
    probes that are not matched to their owner, beside the same share of uncloaked ones. Masks are learned in processes
    of their own: a script calls it below ``if __name__ == "__main__":``.

    Args:
        people: a folder of NAME/enrol.jpg, NAME/photo1.jpg and on: photos 1 to 3 are the gallery, 4 to 7 the probes,
            unless ``protocol`` says otherwise.
        recognizers: evaluators, by their names in the model repository; none may be a surrogate.
        others: a folder of other people's photos for the gallery, one each.
        people_slice: "A:B", only the Ath to Bth person in name order, both included.
        surrogates: learned against, in place of the settings'.
        leave_one_out: leave each surrogate out of enrollment in turn; it is then the evaluator.
        settings: how masks are learned, by default as :func:`facecloak.enroll` does.
        protocol: how protection is measured (:class:`facecloak_evaluation.protocol.EvaluationProtocol`).
        compare: also measure the published algorithm on the same photos.
        jobs: enrollments at once.
        work: a folder that keeps masks and readings, sealed: an interrupted run goes on.
        model_repository: the folder of models; by default that of the command line.
        progress: told of each finished piece of work: its kind, how many of it are done, and of how many.

    Raises:
        PlanInvalid: no evaluators, or too few surrogates to leave one out.
        EvaluationInputInvalid: the folders or the selection do not describe a measurement.
        EvaluatorWasSurrogate: masks would be learned against a recognizer that evaluates them.
        ModuleNotFoundError: the extra ``enroll`` is not installed; the error says so.
    """
    with naming_the_extra():
        from enroll_service.pipeline import PipelineSettings
        from facecloak_evaluation.protocol import EvaluationProtocol
        from facecloak_evaluation.run import EvaluationRequest, run_evaluation

        request = EvaluationRequest(
            people=Path(people),
            others=None if others is None else Path(others),
            people_slice=people_slice,
            recognizers=tuple(recognizers),
            surrogates=tuple(surrogates),
            leave_one_out=leave_one_out,
            settings=settings or PipelineSettings(),
            protocol=protocol or EvaluationProtocol(),
            compare=compare,
            jobs=jobs,
            work=None if work is None else Path(work),
            repository=default_folder() if model_repository is None else Path(model_repository),
        )
        return run_evaluation(request, progress=_counting(progress), told=lambda line: None).document


def _counting(
    progress: Callable[[str, int, int], None] | None,
) -> Callable[[Mapping[str, int]], Any]:
    @contextmanager
    def opened(totals: Mapping[str, int]) -> Iterator[Callable[[str, str], None]]:
        done: Counter[str] = Counter()

        def advance(kind: str, _about: str) -> None:
            done[kind] += 1
            if progress is not None:
                progress(kind, done[kind], totals[kind])

        yield advance

    return opened
