"""What a mask leaves and what it approaches, by surrogate: told once, the same all through a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enroll_service.pipeline.ops.similarity_scale import unit
from enroll_service.pipeline.perturb.anchors import AnchorPool, mirrored, opposite
from enroll_service.pipeline.perturb.ensemble import Target
from facecloak.recognizers import RecognizerRuntime


def targets_of(
    photos: np.ndarray,
    variations: np.ndarray,
    *,
    runtime: RecognizerRuntime,
    names: Sequence[str],
    pool: AnchorPool | None,
) -> dict[str, Target]:
    """By surrogate the identity to leave and the anchor to approach.

    The photos tell best who the person is; the variations tell it as masks meet it while they are learned. The
    identity is midway between the two: masks that leave either alone hold on fewer photos (docs/experiments.md).

    Args:
        photos: (N, 3, 112, 112) float32, the enrolled faces; a mirrored one shows the same person, and is asked too.
        variations: (M, 3, 112, 112) float32 of the same person.
        pool: centers of the population; None for the direction opposite to the identity.
    """
    faces = np.concatenate([photos, photos[..., ::-1]])
    targets = {}
    for name in names:
        near = unit(own_identity(runtime, name, faces) + own_identity(runtime, name, variations))
        far = opposite(near) if pool is None else mirrored(near, pool.center(name, runtime=runtime))
        targets[name] = Target(near=near, far=far)
    return targets


def own_identity(runtime: RecognizerRuntime, name: str, crops: np.ndarray) -> np.ndarray:
    """The person's centroid in one recognizer's space, (1, D), from crops (N, 3, 112, 112) float32."""
    return unit(runtime.embed(name, crops).mean(axis=0, keepdims=True))
