"""Why a recognizer cannot be differentiated."""

from __future__ import annotations

from collections.abc import Iterable

from facecloak.errors import ErrorCode, FaceCloakError


class GradientError(FaceCloakError):
    """Base: this recognizer graph has no usable gradient graph."""

    code = ErrorCode.INVALID_ARGUMENT
    reason = "RECOGNIZER_NOT_DIFFERENTIABLE"


class UnsupportedOperator(GradientError):
    """The graph uses operators, or forms of operators, that no rule covers.

    Attributes:
        names: all of them at once, sorted, such as ``("Loop", "Pad (mode=reflect)")``.
    """

    reason = "RECOGNIZER_OPERATOR_UNSUPPORTED"

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(set(names)))
        listed = ", ".join(self.names)
        super().__init__(f"No gradient rule for: {listed}.", operators=listed)


class UnknownShape(GradientError):
    """Shape inference cannot fix the channels, height or width of a tensor that a rule needs.

    Attributes:
        tensor: name of the tensor in the graph.
    """

    reason = "RECOGNIZER_SHAPE_UNKNOWN"

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        super().__init__(f"The shape of tensor {tensor!r} is not known before running.", tensor=tensor)


class BatchNotDynamic(GradientError):
    """A batch size is baked into the graph: it answers only for that many crops.

    Attributes:
        tensor: the first tensor that no longer follows the batch size of the input.
    """

    reason = "RECOGNIZER_BATCH_FIXED"

    def __init__(self, tensor: str, operator: str) -> None:
        self.tensor = tensor
        super().__init__(
            f"The batch size is baked into the graph at tensor {tensor!r} ({operator}).",
            tensor=tensor,
            operator=operator,
        )


class InvalidRecognizerGraph(GradientError):
    """The model is not a graph of one image input and one embedding output."""

    reason = "RECOGNIZER_GRAPH_INVALID"


class GradientMismatch(GradientError):
    """The compiled gradient does not agree with the embedding graph it came from."""

    reason = "RECOGNIZER_GRADIENT_MISMATCH"
