"""Protection success rate (PSR) and its uncertainty.

PSR@k = share of probes whose k nearest gallery photos (cosine) hold none of the probe's owner. 0 = always recognized,
1 = never. The same figure for uncloaked probes is the *control*: what a recognizer misses by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """A measured share (or difference of shares) with its bootstrap 95 % interval over people."""

    value: float
    low: float
    high: float
    probes: int
    people: int

    def as_json(self) -> dict[str, float | int]:
        """Rounded to four decimals: more would pretend."""
        return {key: round(item, 4) if isinstance(item, float) else item for key, item in asdict(self).items()}


def protected_at(
    probes: np.ndarray,
    probe_owners: Sequence[str],
    *,
    gallery: np.ndarray,
    gallery_owners: Sequence[str],
    rank: int,
) -> np.ndarray:
    """Which probes are protected at this rank.

    Args:
        probes: (P, D) unit embeddings.
        probe_owners: P names.
        gallery: (G, D) unit embeddings, G >= rank.
        gallery_owners: G names.
        rank: how many nearest photos are looked at; ties go against protection.

    Returns:
        (P,) bool, true = none of the nearest `rank` photos is the owner's.

    Raises:
        ValueError: fewer than `rank` photos in the gallery, or lengths that do not fit.
    """
    if len(probes) != len(probe_owners) or len(gallery) != len(gallery_owners):
        raise ValueError("each embedding needs exactly one owner")
    if not 1 <= rank <= len(gallery):
        raise ValueError(f"rank {rank} needs a gallery of at least that many photos, not {len(gallery)}")
    if len(probes) == 0:
        return np.zeros(0, bool)
    similarity = np.asarray(probes, np.float64) @ np.asarray(gallery, np.float64).T
    own = np.asarray(probe_owners, object)[:, None] == np.asarray(gallery_owners, object)[None, :]
    nearest_own = np.where(own, similarity, -np.inf).max(axis=1)
    strangers_ahead = ((similarity > nearest_own[:, None]) & ~own).sum(axis=1)
    return strangers_ahead >= rank


def margins_of(
    probes: np.ndarray, probe_owners: Sequence[str], *, gallery: np.ndarray, gallery_owners: Sequence[str]
) -> np.ndarray:
    """(P,) cosine to the nearest gallery photo of the owner, less that to the nearest of anybody else; -1..1 each."""
    similarity = np.asarray(probes, np.float64) @ np.asarray(gallery, np.float64).T
    own = np.asarray(probe_owners, object)[:, None] == np.asarray(gallery_owners, object)[None, :]
    nearest_own = np.where(own, similarity, -1.0).max(axis=1)
    nearest_other = np.where(own, -1.0, similarity).max(axis=1)
    return np.asarray(nearest_own - nearest_other)


@dataclass(frozen=True)
class Tally:
    """Counts a person: in `hits[i]` of `trials[i]` probes the thing happened to person i.

    Attributes:
        hits: (people,) or (rounds, people) float64.
        trials: same shape; 0 where a person took no part.
    """

    hits: np.ndarray
    trials: np.ndarray

    @classmethod
    def of(cls, happened: np.ndarray, owners: Sequence[str], *, people: Sequence[str]) -> Tally:
        """From one bool a probe and the probe's owner."""
        index = {name: number for number, name in enumerate(people)}
        rows = np.asarray([index[owner] for owner in owners], int)
        hits = np.bincount(rows, weights=np.asarray(happened, float), minlength=len(people))
        return cls(hits=hits, trials=np.bincount(rows, minlength=len(people)).astype(float))

    @classmethod
    def stack(cls, tallies: Sequence[Tally]) -> Tally:
        """Several rounds over the same people as one (rounds, people) tally."""
        return cls(
            hits=np.stack([tally.hits for tally in tallies]), trials=np.stack([tally.trials for tally in tallies])
        )

    def share(self, people: np.ndarray | None = None) -> np.ndarray:
        """Hits / trials over these people, then the mean over rounds.

        Args:
            people: (..., n) indices of people with repetition; all people once if not given.

        Returns:
            (...) shares; nan where nobody was tried.
        """
        hits, trials = np.atleast_2d(self.hits), np.atleast_2d(self.trials)
        chosen = np.arange(hits.shape[1]) if people is None else people
        totals = trials[:, chosen].sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((hits[:, chosen].sum(axis=-1) / totals).mean(axis=0))


def figure(tally: Tally, *, minus: Tally | None = None, resamples: int, seed: int) -> Figure:
    """The share of a tally with its interval; with `minus`, the difference of the two (resampled together).

    People are resampled with replacement, not probes: photos of one person stand or fall together.
    """
    count = np.atleast_2d(tally.hits).shape[1]
    draws = np.random.default_rng(seed).integers(0, count, size=(resamples, count))
    value, spread = tally.share(), tally.share(draws)
    if minus is not None:
        value, spread = value - minus.share(), spread - minus.share(draws)
    spread = spread[np.isfinite(spread)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(spread, [tail, 1 - tail]) if spread.size else (np.nan, np.nan)
    taking_part = np.atleast_2d(tally.trials).max(axis=0) > 0
    return Figure(
        value=float(value),
        low=float(low),
        high=float(high),
        probes=int(tally.trials.sum()),
        people=int(taking_part.sum()),
    )
