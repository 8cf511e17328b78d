"""How the files of a package become a network: one class a way of publishing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import onnx

MAX_JSON_BYTES = 4 << 20
MAX_WEIGHTS_BYTES = 64 << 20


class NetworkSource(Protocol):
    """Files of a package and their conversion. onnx is imported only when it converts."""

    @property
    def weights_file(self) -> str:
        """The file whose digest identifies the network."""
        ...

    def members(self) -> dict[str, int]:
        """Paths within the package and the most bytes each may have."""
        ...

    def convert(self, files: Mapping[str, bytes]) -> onnx.ModelProto:
        """The network with dynamic batch, opset 18. Raises ModelUnsupported."""
        ...


@dataclass(frozen=True)
class ReadyOnnx:
    """An ONNX file. ``outputs`` are those to keep, in order; empty keeps all."""

    file: str
    outputs: tuple[str, ...] = ()

    @property
    def weights_file(self) -> str:
        return self.file

    def members(self) -> dict[str, int]:
        return {self.file: MAX_WEIGHTS_BYTES}

    def convert(self, files: Mapping[str, bytes]) -> onnx.ModelProto:
        from facecloak.models.convert.onnx_file import convert_ready_model

        return convert_ready_model(files[self.file], outputs=self.outputs or None)


@dataclass(frozen=True)
class TfjsGraph:
    """A TensorFlow.js graph model of one .json and one .bin file.

    ``outputs`` pairs TensorFlow node names with the names wanted; empty takes the model's own outputs.
    ``mends_prelu`` is for a graph that was published with its PRelus wrong (see `importing.prelu.mend_prelu`).
    """

    stem: str
    outputs: tuple[tuple[str, str], ...] = ()
    mends_prelu: bool = False

    @property
    def weights_file(self) -> str:
        return f"{self.stem}.bin"

    def members(self) -> dict[str, int]:
        return {f"{self.stem}.json": MAX_JSON_BYTES, self.weights_file: MAX_WEIGHTS_BYTES}

    def convert(self, files: Mapping[str, bytes]) -> onnx.ModelProto:
        from facecloak.models.convert.tfjs import convert_graph_model

        weights = {self.weights_file.rpartition("/")[2]: files[self.weights_file]}
        network = convert_graph_model(files[f"{self.stem}.json"], weights, outputs=dict(self.outputs) or None)
        if self.mends_prelu:
            from facecloak.models.convert.prelu import mend_prelu

            mend_prelu(network)
        return network


@dataclass(frozen=True)
class FaceApiResnet:
    """dlib's recognizer in face-api's weight manifest."""

    stem: str

    @property
    def weights_file(self) -> str:
        return f"{self.stem}.bin"

    def members(self) -> dict[str, int]:
        return {f"{self.stem}-weights_manifest.json": MAX_JSON_BYTES, self.weights_file: MAX_WEIGHTS_BYTES}

    def convert(self, files: Mapping[str, bytes]) -> onnx.ModelProto:
        from facecloak.models.convert.dlib_resnet import convert_dlib_resnet

        weights = {self.weights_file.rpartition("/")[2]: files[self.weights_file]}
        return convert_dlib_resnet(files[f"{self.stem}-weights_manifest.json"], weights)
