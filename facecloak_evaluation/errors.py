"""What the evaluation refuses."""

from __future__ import annotations

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput


class EvaluationInputInvalid(InvalidInput):
    """The folders or the selection do not describe a measurement."""

    reason = "EVALUATION_INPUT_INVALID"


class PlanInvalid(EvaluationInputInvalid):
    """Surrogates and evaluators that make no measurement: none who evaluates, or too few to leave one out."""

    reason = "EVALUATION_PLAN_INVALID"


class EvaluatorWasSurrogate(FaceCloakError):
    """A recognizer that masks were learned against would evaluate them: the figure would be worthless."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "EVALUATOR_WAS_SURROGATE"


class LedgerUnreadable(InvalidInput):
    """A result file is not a FaceCloak evaluation result."""

    reason = "LEDGER_UNREADABLE"
