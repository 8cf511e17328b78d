"""How the recognizers are served, by kind of machine. ``models build`` writes config.pbtxt from one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Accelerator(StrEnum):
    """What Triton's ONNX Runtime backend runs the graph on."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


@dataclass(frozen=True)
class Profile:
    """One way to serve all recognizers.

    Attributes:
        max_batch: crops that Triton may run at once, of one request or of several.
        preferred_batches: sizes at which waiting ends early; empty sends what is there as soon as an instance is free.
        queue_delay_us: longest time that a request waits for others to join its batch, microseconds.
        queue_limit: requests that wait for one model at most; more are refused with UNAVAILABLE.
        queue_timeout_us: longest time that a request waits for its turn, microseconds; then it is refused.
        instances: copies of each graph that run side by side, on each GPU where there are several.
        threads: CPU threads within one operator; 0 is one a core.
        warm_up_batches: batch sizes that are run before a model counts as ready.
        options: of the accelerator, as Triton's ONNX Runtime backend names them.
    """

    name: str
    accelerator: Accelerator
    max_batch: int
    preferred_batches: tuple[int, ...] = ()
    queue_delay_us: int = 0
    queue_limit: int = 256
    queue_timeout_us: int = 20_000_000
    instances: int = 1
    threads: int = 1
    warm_up_batches: tuple[int, ...] = (1,)
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_EXACT = {"use_tf32": "0"}
"""TF32 keeps 10 bits of a factor, which flips the sign of some gradients. (Triton has no such option for TensorRT: set
NVIDIA_TF32_OVERRIDE=0 in the server's environment.)"""

CPU = Profile(
    name="cpu",
    accelerator=Accelerator.CPU,
    # One enrollment's step is 4 crops, 8 for the further masks of a bank. On a CPU 16 at once cost more a crop than
    # twice 8: their activations no longer fit the caches.
    max_batch=8,
    warm_up_batches=(1, 8),
)

GPU = Profile(
    name="gpu",
    accelerator=Accelerator.CUDA,
    max_batch=64,
    preferred_batches=(16, 32, 64),
    # A step takes tens of milliseconds of the enrollment's own time besides, so half a millisecond is not noticed.
    queue_delay_us=500,
    warm_up_batches=(1, 8, 64),
    options=MappingProxyType(_EXACT),
)

GPU_TENSORRT = Profile(
    name="gpu-tensorrt",
    accelerator=Accelerator.TENSORRT,
    max_batch=64,
    preferred_batches=(16, 32, 64),
    queue_delay_us=500,
    # The first run of each size may build an engine, which takes minutes: before readiness, not in an enrollment.
    warm_up_batches=(1, 8, 64),
    options=MappingProxyType(
        {
            # Half precision loses 2-4 % of the gradient's signs.
            "precision_mode": "FP32",
            "max_workspace_size_bytes": str(2 << 30),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "/var/cache/triton/tensorrt",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "/var/cache/triton/tensorrt",
        }
    ),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (CPU, GPU, GPU_TENSORRT)})
