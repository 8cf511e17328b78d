"""``facecloak models build``: a Triton model repository of the recognizers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from facecloak.atomic_files import PUBLIC, link_or_copy, write_atomically
from facecloak.models.errors import ModelDamaged, RecognizerUnknown
from facecloak.models.repository import ModelRepository, sha256_hex
from facecloak.models.spec import ModelKind, RecognizerSpec
from facecloak.recognizers.triton.config import config_pbtxt, served_name
from facecloak.recognizers.triton.profiles import Profile


@dataclass(frozen=True)
class BuiltRepository:
    """A repository that Triton can serve; ``models`` are the names to load, sorted."""

    root: Path
    models: tuple[str, ...]


def build_repository(
    repository: ModelRepository, *, profile: Profile, names: Iterable[str] = (), output: Path | None = None
) -> BuiltRepository:
    """Write config.pbtxt for each recognizer's graphs, after checking the files' digests.

    Args:
        names: these recognizers only; none means all.
        output: a folder of its own that holds nothing but what is served, the graphs hard links where the file system
            has them; None writes beside the graphs of ``repository``, face finders and specs included.

    Raises:
        RecognizerUnknown: a name is not a recognizer's, or there is none.
        ModelDamaged, SpecInvalid: a file is not what its spec records.
    """
    root = output or repository.root
    models = []
    with repository.locked():
        for spec in _specs(repository, names):
            for gradient in (False, True) if spec.has_gradient else (False,):
                name = served_name(spec, gradient=gradient)
                source = repository.gradient_path(spec.name) if gradient else repository.model_path(spec.name)
                # Reading checks the digest, which the configuration is about to vouch for.
                data = repository.read_gradient(spec.name) if gradient else repository.read_model(spec.name)
                weights = None if gradient else repository.read_weights(spec.name)
                if root != repository.root:
                    _place(source, root / name / "1" / source.name, digest=sha256_hex(data))
                    if weights is not None:
                        source = repository.weights_path(spec.name)
                        _place(source, root / name / "1" / source.name, digest=spec.weights_sha256)
                text = config_pbtxt(spec, gradient=gradient, profile=profile)
                write_atomically(root / name / "config.pbtxt", text.encode("utf-8"), mode=PUBLIC)
                models.append(name)
    return BuiltRepository(root, tuple(sorted(models)))


def _specs(repository: ModelRepository, names: Iterable[str]) -> list[RecognizerSpec]:
    wanted = sorted(set(names)) or list(repository.names(ModelKind.RECOGNIZER))
    if not wanted:
        raise RecognizerUnknown("there are no recognizers to build for: run `facecloak models pull`")
    specs = [repository.spec(name) for name in wanted]
    for spec in specs:
        if not spec.is_recognizer:
            raise RecognizerUnknown(f"{spec.name!r} is a {spec.kind}, not a recognizer", model=spec.name)
    return specs


def _place(source: Path, target: Path, *, digest: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, target)
    except OSError as error:
        raise ModelDamaged(f"{target.name} cannot be written into the Triton repository") from error
    if sha256_hex(target.read_bytes()) != digest:
        raise ModelDamaged("a model changed while it was put into the Triton repository; build again")
