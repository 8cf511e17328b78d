"""The folder of models: ``NAME/spec.toml``, ``NAME/1/model.onnx`` and, for surrogates, ``NAME_grad/1/model.onnx``.

The layout is Triton's. Both graphs of a surrogate have the same weights: they are in the gradient graph's file, and
``NAME/1/weights.bin`` is a hard link to it, since ONNX Runtime reads nothing outside of a model's own folder. A spec is
written last and holds the digests of its files, so a folder that an interrupted import left half-written never loads.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facecloak.atomic_files import PUBLIC, link_or_copy, write_atomically
from facecloak.models.errors import ModelDamaged, RecognizerUnknown, SpecInvalid
from facecloak.models.spec import MAX_SPEC_BYTES, ModelKind, RecognizerSpec, parse_spec

GRADIENT_SUFFIX = "_grad"
WEIGHTS_FILE = "weights.bin"
MAX_MODEL_BYTES = 1 << 30
"""A face recognizer is 1 to 400 MB; protobuf itself ends at 2 GiB."""


DEFAULT_FOLDER = Path("model_repository")
"""Where models are, below the working folder, unless something else is said."""
FOLDER_VARIABLE = "FACECLOAK_MODEL_REPOSITORY"
"""The environment variable that says something else."""


def default_folder() -> Path:
    """The model repository that commands take without ``--repository``: FACECLOAK_MODEL_REPOSITORY, or
    ./model_repository."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class ModelRepository:
    """Reads and writes one model repository folder. Files are checked against their spec whenever they are read."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folders(self) -> tuple[str, ...]:
        """Names of all folders with a spec, readable or not, sorted."""
        return tuple(sorted(path.parent.name for path in self.root.glob("*/spec.toml")))

    def names(self, kind: ModelKind | None = None) -> tuple[str, ...]:
        """Names of the models that have a readable spec, sorted; of one kind if given."""
        found = []
        for name in self.folders():
            try:
                spec = self.spec(name)
            except (SpecInvalid, ModelDamaged, RecognizerUnknown):
                continue  # `models list` and `models verify` name it; one bad folder must not stop the others
            if kind is None or spec.kind is kind:
                found.append(spec.name)
        return tuple(found)

    def spec(self, name: str) -> RecognizerSpec:
        """The spec of one model.

        Raises:
            RecognizerUnknown: there is none of this name.
            SpecInvalid: its spec.toml cannot be read.
        """
        path = self.spec_path(name)
        try:
            with path.open("rb") as file:
                text = file.read(MAX_SPEC_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RecognizerUnknown(
                f"no model named {name!r} in the model repository; `facecloak models pull` brings the default ones",
                model=name,
            ) from error
        spec = parse_spec(text)
        if spec.name != name:
            raise ModelDamaged(f"the folder {name!r} holds the spec of {spec.name!r}", model=name)
        return spec

    def spec_path(self, name: str) -> Path:
        return self._folder(name) / "spec.toml"

    def model_path(self, name: str) -> Path:
        return self._folder(name) / "1" / "model.onnx"

    def gradient_path(self, name: str) -> Path:
        return self._folder(name + GRADIENT_SUFFIX) / "1" / "model.onnx"

    def weights_path(self, name: str) -> Path:
        return self._folder(name) / "1" / WEIGHTS_FILE

    def read_model(self, name: str) -> bytes:
        """The prepared ONNX of one model, its SHA-256 checked against the spec; see :meth:`read_weights`.

        Raises:
            ModelDamaged: the file is missing, too large or not the one that was imported.
        """
        return self._read(name, self.model_path(name), self.spec(name).model_sha256)

    def read_gradient(self, name: str) -> bytes:
        """The gradient graph of one recognizer, checked likewise."""
        return self._read(name, self.gradient_path(name), self.spec(name).gradient_sha256)

    def read_weights(self, name: str) -> bytes | None:
        """The file that the prepared ONNX names for its weights, checked likewise; None where they are inside."""
        digest = self.spec(name).weights_sha256
        return self._read(name, self.weights_path(name), digest) if digest else None

    def is_intact(self, name: str) -> bool:
        """Whether spec and files of a model are there and agree."""
        try:
            spec = self.spec(name)
            self.read_model(name)
            self.read_weights(name)
            if spec.has_gradient:
                self.read_gradient(name)
        except (RecognizerUnknown, SpecInvalid, ModelDamaged):
            return False
        return True

    def write(
        self, spec: RecognizerSpec, *, model: bytes, gradient: bytes | None = None, shares_weights: bool = False
    ) -> RecognizerSpec:
        """Store one model; returns the spec with its digests. The spec is written last, each file atomically.

        Args:
            shares_weights: the model's weights are in ``gradient``.
        """
        gradient_sha256 = sha256_hex(gradient) if gradient is not None else ""
        complete = spec.with_digests(
            model_sha256=sha256_hex(model),
            gradient_sha256=gradient_sha256,
            weights_sha256=gradient_sha256 if shares_weights else "",
            recipe=spec.recipe,
        )
        _write(self.model_path(spec.name), model)
        if gradient is not None:
            _write(self.gradient_path(spec.name), gradient)
        else:
            self.gradient_path(spec.name).unlink(missing_ok=True)
        if shares_weights:
            link_or_copy(self.gradient_path(spec.name), self.weights_path(spec.name))
        else:
            self.weights_path(spec.name).unlink(missing_ok=True)
        _write(self.spec_path(spec.name), complete.to_toml().encode("utf-8"))
        return complete

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository against other imports on this machine (readers need no lock)."""
        import fcntl

        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _folder(self, name: str) -> Path:
        if not name.replace("_", "").isalnum() or not name.isascii():  # a name never walks out of the folder
            raise RecognizerUnknown("a model name holds lower-case letters, digits and _ only")
        return self.root / name

    def _read(self, name: str, path: Path, digest: str) -> bytes:
        again = "; import it again (`facecloak models pull` or `models add`)"
        if not digest:
            raise ModelDamaged(f"the spec of {name!r} records no digest for its file{again}", model=name)
        try:
            if path.stat().st_size > MAX_MODEL_BYTES:
                raise ModelDamaged(f"the model file of {name!r} is larger than {MAX_MODEL_BYTES} bytes", model=name)
            data = path.read_bytes()
        except OSError as error:
            raise ModelDamaged(f"the model file of {name!r} cannot be read{again}", model=name) from error
        if sha256_hex(data) != digest:
            raise ModelDamaged(f"the model file of {name!r} is not the one its spec records{again}", model=name)
        return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=PUBLIC)
