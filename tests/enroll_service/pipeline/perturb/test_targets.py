"""Which identity a mask leaves."""

from __future__ import annotations

import numpy as np

from enroll_service.pipeline.perturb.targets import targets_of


class LeftAndRight:
    """A recognizer that sees how bright the left and the right half are."""

    def embed(self, _name: str, crops: np.ndarray) -> np.ndarray:
        halves = np.stack([crops[..., :56].mean(axis=(1, 2, 3)), crops[..., 56:].mean(axis=(1, 2, 3))], axis=1)
        return (halves / np.linalg.norm(halves, axis=1, keepdims=True)).astype(np.float32)


def crops(count: int, *, left: float, right: float) -> np.ndarray:
    made = np.zeros((count, 3, 112, 112), np.float32)
    made[..., :56], made[..., 56:] = left, right
    return made


def near(photos: np.ndarray, variations: np.ndarray) -> np.ndarray:
    targets = targets_of(photos, variations, runtime=LeftAndRight(), names=["a"], pool=None)  # type: ignore[arg-type]
    np.testing.assert_allclose(targets["a"].far, -targets["a"].near)
    return targets["a"].near[0]


def test_photos_and_variations_weigh_the_same_however_many_there_are() -> None:
    photo, variation = crops(1, left=1, right=1), crops(40, left=1, right=0)
    between = np.array([1 + 2**-0.5, 2**-0.5])
    expected = between / np.linalg.norm(between)
    np.testing.assert_allclose(near(photo, variation), expected, atol=1e-5)
    np.testing.assert_allclose(near(np.repeat(photo, 5, axis=0), variation[:3]), expected, atol=1e-5)


def test_a_mirrored_photo_shows_the_same_person() -> None:
    one_sided, even = crops(1, left=200, right=10), crops(4, left=1, right=1)
    np.testing.assert_allclose(near(one_sided, even), np.array([2**-0.5, 2**-0.5]), atol=1e-5)
