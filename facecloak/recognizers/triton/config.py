"""config.pbtxt of one graph, from its spec and a profile. Nobody edits the file: ``models build`` writes it again.

The text is made by protobuf from Triton's own message, so that it can be no other than well formed. Fields: Triton's
model_configuration.md; the accelerators' options: the ONNX Runtime backend's README.
"""

from __future__ import annotations

from typing import Any

from facecloak.models.crop import CROP_SIZE
from facecloak.models.repository import GRADIENT_SUFFIX
from facecloak.models.spec import RecognizerSpec
from facecloak.recognizers.triton.profiles import Accelerator, Profile

DIGEST_PARAMETER = "facecloak_sha256"
"""Parameter of config.pbtxt that holds the graph's SHA-256: by it a client knows which model a server really runs."""

PROFILE_PARAMETER = "facecloak_profile"
_HEADER = "# Written by `facecloak models build`; edits here are lost.\n"


def served_name(spec: RecognizerSpec, *, gradient: bool) -> str:
    """The name of a graph on the server."""
    return spec.name + (GRADIENT_SUFFIX if gradient else "")


def config_pbtxt(spec: RecognizerSpec, *, gradient: bool, profile: Profile) -> str:
    """The text of one config.pbtxt.

    Args:
        gradient: the graph that also gives loss and gradient, not the one that only embeds.
    """
    from google.protobuf import json_format, text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    message = json_format.ParseDict(_config(spec, gradient=gradient, profile=profile), ModelConfig())
    return _HEADER + text_format.MessageToString(message)


def _config(spec: RecognizerSpec, *, gradient: bool, profile: Profile) -> dict[str, Any]:
    inputs, outputs = _tensors(spec, gradient=gradient)
    on_gpu = profile.accelerator is not Accelerator.CPU
    config: dict[str, Any] = {
        "name": served_name(spec, gradient=gradient),
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "max_batch_size": profile.max_batch,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [_tensor(name, dims) for name, dims in inputs.items()],
        "output": [_tensor(name, dims) for name, dims in outputs.items()],
        "instance_group": [{"count": profile.instances, "kind": "KIND_GPU" if on_gpu else "KIND_CPU"}],
        "dynamic_batching": {
            "preferred_batch_size": list(profile.preferred_batches),
            "max_queue_delay_microseconds": profile.queue_delay_us,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": profile.queue_timeout_us,
                "max_queue_size": profile.queue_limit,
            },
        },
        "model_warmup": [_warm_up(inputs, batch=batch) for batch in profile.warm_up_batches],
        "parameters": {
            "intra_op_thread_count": {"string_value": str(profile.threads)},
            "inter_op_thread_count": {"string_value": "1"},
            DIGEST_PARAMETER: {"string_value": spec.gradient_sha256 if gradient else spec.model_sha256},
            PROFILE_PARAMETER: {"string_value": profile.name},
        },
    }
    if on_gpu:
        accelerators = [{"name": str(profile.accelerator), "parameters": _options(inputs, profile)}]
        config["optimization"] = {"execution_accelerators": {"gpu_execution_accelerator": accelerators}}
    return config


def _tensors(spec: RecognizerSpec, *, gradient: bool) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Sides of one row of every input and output; [] is a single number."""
    pixels, vector = [3, CROP_SIZE, CROP_SIZE], [spec.embedding_size]
    if not gradient:
        return {"crops": pixels}, {"embedding": vector}
    return (
        {"crops": pixels, "far": vector, "near": vector},
        {"loss": [], "embedding": vector, "gradient": pixels},
    )


def _tensor(name: str, dims: list[int]) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": name, "data_type": "TYPE_FP32", "dims": dims}
    # Triton has no tensor without sides: one number a row is [1] outside and nothing inside.
    return tensor if dims else tensor | {"dims": [1], "reshape": {"shape": []}}


def _warm_up(inputs: dict[str, list[int]], *, batch: int) -> dict[str, Any]:
    tensors = {name: {"data_type": "TYPE_FP32", "dims": dims, "random_data": True} for name, dims in inputs.items()}
    return {"name": f"batch of {batch}", "batch_size": batch, "inputs": tensors}


def _options(inputs: dict[str, list[int]], profile: Profile) -> dict[str, str]:
    options = dict(profile.options)
    if profile.accelerator is Accelerator.TENSORRT:
        # One engine for all batch sizes, made for that of one enrollment's step.
        for bound, batch in (("min", 1), ("opt", min(8, profile.max_batch)), ("max", profile.max_batch)):
            shapes = (f"{name}:{'x'.join(map(str, [batch, *dims]))}" for name, dims in inputs.items())
            options[f"trt_profile_{bound}_shapes"] = ",".join(shapes)
    return options
