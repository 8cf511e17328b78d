"""Where a mask is to lead: away from the person, onward where it leads already, and not where earlier masks lead.

**Onward.** One photo tells the person's centroid badly, and what a mask leaves by that estimate alone it may keep of
the true one. An embedding that is far out in any other direction is like the person by no estimate. So the direction
across the identity in which a mask has been leading the last batches is added to the anchor: a mask goes on where it
goes easily.

**A bank.** The first mask leaves the person's identity, and so would all others, the same way. So each mask remembers
in which direction it leads every surrogate's embeddings (without their part along the identity, which all of them
lose), and later masks leave these directions, too: by how far beyond a margin they still lead there, a hinge on the
mean of their last batches. What they spend on being apart from each other they lack for leaving the person: the margin
shares it out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from enroll_service.pipeline.ops.similarity_scale import unit
from enroll_service.pipeline.perturb.ensemble import Target

# Share of the running mean that each batch renews: steady over some three batches.
_RENEWED = 0.3


class Repulsion:
    """The directions that are taken, by surrogate, and the target that keeps the next mask out of them.

    Args:
        targets: the person's own, by surrogate: what every mask leaves.
        weight: of the taken directions against the person's identity; 0 leaves the targets as they are.
        margin: how far a mask may lead in a taken direction unrepelled, as a share of the first mask's reach.
        onward: weight of the direction in which a mask already leads, against leaving the identity.
    """

    def __init__(self, targets: Mapping[str, Target], *, weight: float, margin: float, onward: float = 0.0) -> None:
        self._own = dict(targets)
        self._weight = weight
        self._margin = margin
        self._onward = onward
        self._taken = {name: np.zeros((0, target.near.shape[1]), np.float32) for name, target in targets.items()}
        self._reach: dict[str, float] = {}
        self._leads: dict[str, np.ndarray] = {}
        self._heading: dict[str, np.ndarray] = {}

    def take(self, name: str, *, clean: np.ndarray, masked: np.ndarray) -> None:
        """Note where a finished mask leads.

        Args:
            name: the surrogate.
            clean, masked: (N, D) unit embeddings of the same variations without and with the mask.
        """
        moved = self._across(name, masked.mean(axis=0, keepdims=True) - clean.mean(axis=0, keepdims=True))
        # The first mask's reach is the measure for all: how far across the identity a mask can lead at all.
        self._reach.setdefault(name, max(float(np.linalg.norm(moved)), 1e-6))
        self._taken[name] = np.concatenate([self._taken[name], unit(moved)])

    def begin(self) -> dict[str, Target]:
        """Forget the last mask's batches; the targets to begin the next mask with, by surrogate."""
        self._leads, self._heading = {}, {}
        return dict(self._own)

    def follow(self, name: str, embeddings: np.ndarray) -> Target:
        """The target for the next step, after a step that led the batch to ``embeddings`` (N, D)."""
        target = self._leaving(name, embeddings)
        if not self._onward:
            return target
        heading = _renewed(self._heading.get(name), embeddings.mean(axis=0, keepdims=True))
        self._heading[name] = heading
        across = self._across(name, heading)
        taken = self._taken[name]
        # Where an earlier mask leads is not onward.
        across = across - (across @ taken.T) @ taken
        away = unit((target.far - target.near) / 2)
        return Target(near=target.near, far=unit(away + self._onward * unit(across)))

    def _leaving(self, name: str, embeddings: np.ndarray) -> Target:
        """The identity, and the directions taken that the batch still leads to."""
        taken, own = self._taken[name], self._own[name]
        if not len(taken) or not self._weight:
            return own
        leads = self._across(name, embeddings) @ taken.T
        self._leads[name] = _renewed(self._leads.get(name), leads.mean(axis=0))
        weights = self._weight * np.maximum(self._leads[name] / self._reach[name] - self._margin, 0)
        # The loss is the cosine to `near` less that to `far`: both are one direction, to which the others are added.
        leaving = unit((own.near - own.far) / 2 + weights[None] @ taken)
        return Target(near=leaving, far=np.zeros_like(leaving))

    def _across(self, name: str, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, D) without their part along the person's identity."""
        near = self._own[name].near
        return np.asarray(vectors - (vectors @ near.T) * near, np.float32)


def _renewed(known: np.ndarray | None, mean: np.ndarray) -> np.ndarray:
    """A running mean with one more batch's."""
    return mean if known is None else (1 - _RENEWED) * known + _RENEWED * mean
