"""The synthesizer that the settings name."""

from __future__ import annotations

from collections.abc import Callable

from enroll_service.stages.mesh import MeshSynthesizer, MixedSynthesizer
from enroll_service.stages.settings import StageSettings, SynthesizerName
from enroll_service.stages.synthesize import ElasticSynthesizer, Synthesizer


def build_synthesizer(settings: StageSettings) -> Synthesizer:
    """Stage one as ``settings.synthesis.synthesizer`` wants it."""
    return _BUILDERS[settings.synthesis.synthesizer](settings)


def _mesh(settings: StageSettings) -> MeshSynthesizer:
    return MeshSynthesizer(settings.synthesis, fallback=ElasticSynthesizer(settings.synthesis))


_BUILDERS: dict[SynthesizerName, Callable[[StageSettings], Synthesizer]] = {
    SynthesizerName.ELASTIC: lambda settings: ElasticSynthesizer(settings.synthesis),
    SynthesizerName.MESH: _mesh,
    SynthesizerName.MIXED: lambda settings: MixedSynthesizer(ElasticSynthesizer(settings.synthesis), _mesh(settings)),
}
