"""Surrogates and evaluators are disjoint by construction: the same weights under another name are refused too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from facecloak.models.spec import RecognizerSpec
from facecloak_evaluation.errors import EvaluatorWasSurrogate


@dataclass(frozen=True)
class RecognizerIdentity:
    """What makes a recognizer the one it is.

    Attributes:
        name: in the model repository.
        weights_sha256: digest of the weights as published; empty where the spec records none.
        model_sha256: digest of the prepared graph that runs.
        source: package and version, for a extractor.
    """

    name: str
    weights_sha256: str
    model_sha256: str
    source: str = ""

    @classmethod
    def of(cls, spec: RecognizerSpec) -> RecognizerIdentity:
        return cls(
            name=spec.name,
            weights_sha256=spec.source.weights_sha256,
            model_sha256=spec.model_sha256,
            source=f"{spec.source.package}@{spec.source.version}".strip("@"),
        )

    def same_as(self, other: RecognizerIdentity) -> bool:
        """Equal by name, by published weights or by prepared graph."""
        mine = {digest.lower() for digest in (self.weights_sha256, self.model_sha256) if digest}
        theirs = {digest.lower() for digest in (other.weights_sha256, other.model_sha256) if digest}
        return self.name == other.name or bool(mine & theirs)


def refuse_surrogates(*, evaluators: Iterable[RecognizerIdentity], surrogates: Iterable[RecognizerIdentity]) -> None:
    """Check that no evaluator was a surrogate.

    Raises:
        EvaluatorWasSurrogate: names the first overlap.
    """
    learned_against = tuple(surrogates)
    for evaluator in evaluators:
        for surrogate in learned_against:
            if evaluator.same_as(surrogate):
                raise EvaluatorWasSurrogate(
                    f"recognizer {evaluator.name} cannot evaluate masks that were learned against {surrogate.name}: "
                    "they are the same recognizer",
                    evaluator=evaluator.name,
                    surrogate=surrogate.name,
                )
