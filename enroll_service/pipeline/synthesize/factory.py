"""The synthesizer that the settings name."""

from __future__ import annotations

from enroll_service.pipeline.settings import PipelineSettings, SynthesizerName
from enroll_service.pipeline.synthesize.elastic import ElasticSynthesizer, Synthesizer
from enroll_service.pipeline.synthesize.mesh import MeshSynthesizer
from facecloak.faces import FaceFinder
from facecloak.masks.mask import MaskGeometry
from facecloak.recognizers import RecognizerRuntime


def build_synthesizer(settings: PipelineSettings, *, runtime: RecognizerRuntime, finder: FaceFinder) -> Synthesizer:
    """Stage one as ``settings.synthesizer`` wants it.

    Raises:
        SynthesizerUnavailable: what it needs is not here.
        ModuleNotFoundError: its extra is not installed.
    """
    in_face_frame = settings.recipe.geometry is MaskGeometry.FACE
    elastic = ElasticSynthesizer(settings.recipe.synthesis, in_face_frame=in_face_frame)
    mesh = MeshSynthesizer(settings.recipe.synthesis, fallback=elastic, in_face_frame=in_face_frame)
    on_cpu: dict[SynthesizerName, Synthesizer] = {
        SynthesizerName.ELASTIC: elastic,
        SynthesizerName.MESH: mesh,
    }
    if settings.synthesizer is not SynthesizerName.ARC2FACE:
        return on_cpu[settings.synthesizer]
    # Diffusion models load slowly: only where they are used.
    from enroll_service.pipeline.synthesize.arc2face.painter import Painter
    from enroll_service.pipeline.synthesize.arc2face.synthesizer import Arc2FaceSynthesizer

    variety = on_cpu[settings.recipe.arc2face.variety]
    return Arc2FaceSynthesizer(
        Painter(settings.arc2face, recipe=settings.recipe.arc2face),
        variety=variety,
        runtime=runtime,
        finder=finder,
        settings=settings,
    )
