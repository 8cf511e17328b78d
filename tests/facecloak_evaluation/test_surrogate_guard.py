"""No recognizer judges what it taught."""

from __future__ import annotations

import pytest

from facecloak.errors import ErrorCode
from facecloak.models.spec import RecognizerSpec, Source
from facecloak_evaluation.errors import EvaluatorWasSurrogate
from facecloak_evaluation.surrogate_guard import RecognizerIdentity, refuse_surrogates

SURROGATE = RecognizerIdentity(name="teacher", weights_sha256="a" * 64, model_sha256="b" * 64)


@pytest.mark.parametrize(
    "evaluator",
    [
        RecognizerIdentity(name="teacher", weights_sha256="", model_sha256="c" * 64),
        RecognizerIdentity(name="renamed", weights_sha256="A" * 64, model_sha256="c" * 64),
        RecognizerIdentity(name="renamed", weights_sha256="", model_sha256="b" * 64),
    ],
    ids=["same name", "same weights", "same graph"],
)
def test_a_surrogate_may_not_judge(evaluator: RecognizerIdentity) -> None:
    with pytest.raises(EvaluatorWasSurrogate) as caught:
        refuse_surrogates(evaluators=[evaluator], surrogates=[SURROGATE])
    assert caught.value.code is ErrorCode.FAILED_PRECONDITION
    assert caught.value.metadata == {"evaluator": evaluator.name, "surrogate": "teacher"}


def test_a_stranger_may_judge_even_without_digests() -> None:
    stranger = RecognizerIdentity(name="stranger", weights_sha256="", model_sha256="")
    undocumented = RecognizerIdentity(name="teacher", weights_sha256="", model_sha256="")
    refuse_surrogates(evaluators=[stranger], surrogates=[SURROGATE, undocumented])


def test_an_identity_is_read_from_a_spec() -> None:
    spec = RecognizerSpec(
        name="net", source=Source(package="npm:x", version="1.0", weights_sha256="d" * 64), model_sha256="e" * 64
    )
    assert RecognizerIdentity.of(spec) == RecognizerIdentity("net", "d" * 64, "e" * 64, "npm:x@1.0")
