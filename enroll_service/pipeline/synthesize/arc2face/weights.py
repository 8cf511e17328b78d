"""Arc2Face's weights: the files it takes, from the operator's folders only, and the pipeline made of them.

Nothing is downloaded and nothing is unpickled: weights are safetensors files, and whatever is missing is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from enroll_service.pipeline.errors import SynthesizerUnavailable
from enroll_service.pipeline.settings import Arc2FaceSettings

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

IDENTITY_SIZE = 512
"""Size of the ArcFace embedding that Arc2Face was trained on (arXiv 2403.11641)."""

LICENSE = (
    "Arc2Face: MIT by its model card, trained on WebFace42M, a set for non-commercial research; "
    "Stable Diffusion 1.5: CreativeML Open RAIL-M; ArcFace networks of insightface: non-commercial research only"
)
"""What is known of the usual weights; an operator's own may differ."""

_UNET = ("arc2face/config.json", "arc2face/diffusion_pytorch_model.safetensors")
_ENCODER = ("encoder/config.json", "encoder/model.safetensors")
_BASE = (
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "scheduler/scheduler_config.json",
)
_SAFETY = (
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "feature_extractor/preprocessor_config.json",
)


@dataclass(frozen=True)
class Weights:
    """Where the files are.

    Attributes:
        arc2face: the folder published as Arc2Face: `arc2face` (UNet) and `encoder`.
        base: a folder in the layout of Stable Diffusion 1.5: `vae`, `tokenizer`, `scheduler`, perhaps the safety
            checker.
        with_safety_checker: whether that is taken too.
    """

    arc2face: Path
    base: Path
    with_safety_checker: bool = False

    @classmethod
    def of(cls, settings: Arc2FaceSettings) -> Weights:
        """As the settings name them.

        Raises:
            SynthesizerUnavailable: no folder is named, or a file is missing; says which.
        """
        if not settings.weights:
            raise SynthesizerUnavailable("The setting arc2face.weights names no folder.", setting="arc2face.weights")
        arc2face = Path(settings.weights)
        base = Path(settings.base) if settings.base else arc2face / "stable-diffusion-v1-5"
        weights = cls(arc2face=arc2face, base=base, with_safety_checker=settings.safety_checker)
        for file in weights.files():
            if not file.is_file():
                raise SynthesizerUnavailable(_missing(file), file=f"{file.parent.name}/{file.name}")
        return weights

    def files(self) -> tuple[Path, ...]:
        """All that is read, in a fixed order."""
        of_base = _BASE + (_SAFETY if self.with_safety_checker else ())
        return (*(self.arc2face / name for name in _UNET + _ENCODER), *(self.base / name for name in of_base))

    def digest(self) -> str:
        """SHA-256, hex, over names and contents of all files; seconds for the usual 4 GB."""
        total = hashlib.sha256()
        for file in self.files():
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            total.update(f"{file.parent.name}/{file.name} {digest}\n".encode())
        return total.hexdigest()


def load_pipeline(weights: Weights, settings: Arc2FaceSettings) -> StableDiffusionPipeline:
    """The pipeline, on its device, silent, with the memory options of the settings.

    Raises:
        SynthesizerUnavailable: the files do not make one; says why.
        ModuleNotFoundError: the extra `diffusion` is not installed.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    device, dtype = placement(settings)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=_part(diffusers.AutoencoderKL, weights.base, "vae", torch_dtype=dtype),
        text_encoder=_part(transformers.CLIPTextModel, weights.arc2face, "encoder", dtype=dtype),
        tokenizer=_tokenizer(weights.base),
        unet=_part(diffusers.UNet2DConditionModel, weights.arc2face, "arc2face", torch_dtype=dtype),
        scheduler=_scheduler(weights.base),
        requires_safety_checker=weights.with_safety_checker,
        **_safety(weights, dtype),
    )
    _require_fit(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    if settings.attention_slicing:
        pipeline.enable_attention_slicing()
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()
    if settings.cpu_offload:
        if device.type == "cpu":
            raise SynthesizerUnavailable("arc2face.cpu_offload needs a GPU.", setting="arc2face.cpu_offload")
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def placement(settings: Arc2FaceSettings) -> tuple[torch.device, torch.dtype]:
    """Device and precision: as set; unset, the GPU in half precision where there is one, else the CPU in single.

    Raises:
        SynthesizerUnavailable: a GPU is asked for, and torch sees none.
    """
    name = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise SynthesizerUnavailable("arc2face.device is cuda, and torch sees no GPU.", setting="arc2face.device")
    half = settings.half_precision if settings.half_precision is not None else name == "cuda"
    return torch.device(name), torch.float16 if half else torch.float32


def _missing(file: Path) -> str:
    text = f"Arc2Face's weights lack {file.parent.name}/{file.name} (docs/arc2face.md)."
    if any(file.with_name(name).is_file() for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin")):
        text += " There is a pickled file in its place, which is not read: convert it."
    return text


def _part(kind: Any, root: Path, name: str, **precision: torch.dtype) -> Any:
    """One network; every weight must come from the file: what a library fills in at random would draw noise."""
    import safetensors

    try:
        network, loading = kind.from_pretrained(
            str(root / name), local_files_only=True, use_safetensors=True, output_loading_info=True, **precision
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise SynthesizerUnavailable(f"Arc2Face's {name} cannot be loaded.", part=name) from error
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise SynthesizerUnavailable(f"Arc2Face's {name} lacks weights.", part=name)
    return network.eval().requires_grad_(requires_grad=False)


def _tokenizer(base: Path) -> Any:
    import transformers

    try:
        return transformers.CLIPTokenizer.from_pretrained(str(base / "tokenizer"), local_files_only=True)
    except Exception as error:  # the tokenizers library raises Exception itself
        raise SynthesizerUnavailable("Arc2Face's tokenizer cannot be loaded.", part="tokenizer") from error


def _scheduler(base: Path) -> Any:
    """DPM-Solver++ of second order (Lu et al. 2022), on the noise schedule that the base was trained with."""
    import diffusers

    try:
        config = json.loads((base / "scheduler" / "scheduler_config.json").read_text())
        return diffusers.DPMSolverMultistepScheduler.from_config(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthesizerUnavailable("Arc2Face's scheduler cannot be loaded.", part="scheduler") from error


def _safety(weights: Weights, dtype: torch.dtype) -> Mapping[str, Any]:
    if not weights.with_safety_checker:
        return {"safety_checker": None, "feature_extractor": None}
    import transformers
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    return {
        "safety_checker": _part(StableDiffusionSafetyChecker, weights.base, "safety_checker", dtype=dtype),
        "feature_extractor": transformers.CLIPImageProcessor.from_pretrained(
            str(weights.base / "feature_extractor"), local_files_only=True
        ),
    }


def _require_fit(pipeline: StableDiffusionPipeline) -> None:
    width = pipeline.text_encoder.config.hidden_size
    if width < IDENTITY_SIZE or width != pipeline.unet.config.cross_attention_dim:
        raise SynthesizerUnavailable("Arc2Face's encoder and UNet do not belong together.", part="encoder")
