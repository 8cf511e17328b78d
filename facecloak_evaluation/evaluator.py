"""The stranger's recognizers at work: who is still found, before and after the cloak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facecloak_evaluation.face_extraction import Embedder, ExtractedFace, embed
from facecloak_evaluation.metrics import Tally, figure, margins_of, protected_at
from facecloak_evaluation.protocol import EvaluationProtocol, Pairing

OTHER = ""
"""Owner of every distractor: no evaluated person has an empty name."""


@dataclass(frozen=True)
class LabeledFaces:
    """Photos as recognizers get them, and whose they are."""

    seen: tuple[ExtractedFace, ...]
    owners: tuple[str, ...]

    def of_people(self, people: frozenset[str]) -> LabeledFaces:
        """Only these people's."""
        return self._where([owner in people for owner in self.owners])

    def not_of(self, people: frozenset[str]) -> LabeledFaces:
        """Everybody else's."""
        return self._where([owner not in people for owner in self.owners])

    def __add__(self, more: LabeledFaces) -> LabeledFaces:
        return LabeledFaces(self.seen + more.seen, self.owners + more.owners)

    def _where(self, keep: Sequence[bool]) -> LabeledFaces:
        return LabeledFaces(
            tuple(seen for seen, wanted in zip(self.seen, keep, strict=True) if wanted),
            tuple(owner for owner, wanted in zip(self.owners, keep, strict=True) if wanted),
        )

    @property
    def missed(self) -> np.ndarray:
        """(n,) bool, true where the face was not found afresh."""
        return np.array([not seen.found_afresh for seen in self.seen], bool)


@dataclass(frozen=True)
class Evidence:
    """Everything that one platform lets a stranger see in one round.

    Attributes:
        clean_probes, cloaked_probes: the same photos in the same order.
        clean_gallery: evaluated people's and the others' photos.
        cloaked_gallery: the same with the enrolled people's photos cloaked.
    """

    clean_probes: LabeledFaces
    cloaked_probes: LabeledFaces
    clean_gallery: LabeledFaces
    cloaked_gallery: LabeledFaces


@dataclass
class EvaluatorResult:
    """What one evaluator said about one platform.

    Attributes:
        evaluator, platform: names.
        control: rank -> tally of the uncloaked probes.
        tallies: (pairing, rank) -> tally.
        margins: (n,) of each cloaked probe against the clean gallery, how much nearer the nearest photo of the owner is
            than that of anybody else, in cosine: above 0 the probe is recognized.
        document: the same as JSON-able figures.
    """

    evaluator: str
    platform: str
    control: dict[int, Tally] = field(default_factory=dict)
    tallies: dict[tuple[Pairing, int], Tally] = field(default_factory=dict)
    margins: np.ndarray = field(default_factory=lambda: np.zeros(0))
    document: dict[str, Any] = field(default_factory=dict)


class Evaluator:
    """Judges by any recognizer of a runtime; a crop is embedded once however often it is looked at.

    Args:
        people: all evaluated people, in the order of every tally.
    """

    def __init__(self, runtime: Embedder, *, protocol: EvaluationProtocol, people: Sequence[str]) -> None:
        self._runtime = runtime
        self._protocol = protocol
        self._people = tuple(people)
        # Keyed by the crop's identity; `ExtractedFace` values of clean photos live as long as the experiment.
        self._known: dict[tuple[str, int], tuple[ExtractedFace, np.ndarray]] = {}

    def evaluate(self, evidence: Evidence, *, evaluator: str, platform: str) -> EvaluatorResult:
        """All pairings and ranks."""
        clean = self._embed(evaluator, evidence.clean_probes, keep=True)
        cloaked = self._embed(evaluator, evidence.cloaked_probes)
        clean_gallery = self._embed(evaluator, evidence.clean_gallery, keep=True)
        cloaked_gallery = self._embed(evaluator, evidence.cloaked_gallery)
        owners = evidence.clean_probes.owners
        plain, worn = evidence.clean_gallery.owners, evidence.cloaked_gallery.owners
        sides = {
            Pairing.CLOAKED_PROBE: (cloaked, clean_gallery, plain, evidence.cloaked_probes.missed),
            Pairing.CLOAKED_GALLERY: (clean, cloaked_gallery, worn, evidence.clean_probes.missed),
            Pairing.BOTH_CLOAKED: (cloaked, cloaked_gallery, worn, evidence.cloaked_probes.missed),
        }
        result = EvaluatorResult(evaluator=evaluator, platform=platform)
        result.margins = margins_of(cloaked, owners, gallery=clean_gallery, gallery_owners=plain)
        figures: dict[str, dict[str, Any]] = {str(pairing): {} for pairing in Pairing}
        for rank in self._protocol.ranks:
            protected = protected_at(clean, owners, gallery=clean_gallery, gallery_owners=plain, rank=rank)
            control = result.control[rank] = Tally.of(protected, owners, people=self._people)
            for pairing, (probes, gallery, gallery_owners, missed) in sides.items():
                protected = protected_at(probes, owners, gallery=gallery, gallery_owners=gallery_owners, rank=rank)
                tally = result.tallies[pairing, rank] = Tally.of(protected, owners, people=self._people)
                entry = figures[str(pairing)]
                entry[f"psr_at_{rank}"] = self._figure(tally)
                entry[f"gain_at_{rank}"] = self._figure(tally, minus=control)
                if missed.any():
                    lenient = Tally.of(protected | missed, owners, people=self._people)
                    entry[f"psr_at_{rank}_if_undetected_counts"] = self._figure(lenient)
        result.document = {
            "evaluator": evaluator,
            "platform": platform,
            "gallery_photos": len(plain),
            "undetected": {
                "clean_probes": int(evidence.clean_probes.missed.sum()),
                "cloaked_probes": int(evidence.cloaked_probes.missed.sum()),
            },
            "similarity_to_own_gallery": {
                "clean": _own_similarity(clean, owners, clean_gallery, plain),
                "cloaked": _own_similarity(cloaked, owners, clean_gallery, plain),
            },
            "control": {f"psr_at_{rank}": self._figure(tally) for rank, tally in result.control.items()},
            "pairings": figures,
            "people": self._each_person(result),
        }
        return result

    def probes(
        self, probes: LabeledFaces, gallery: LabeledFaces, *, evaluator: str, control: Mapping[int, Tally]
    ) -> dict[str, Any]:
        """PSR and gain of some probes against a gallery that is known already."""
        figures: dict[str, Any] = {}
        for rank, tally in self.tallies(probes, gallery, evaluator=evaluator).items():
            before = control[rank]
            figures |= {f"psr_at_{rank}": self._figure(tally), f"gain_at_{rank}": self._figure(tally, minus=before)}
        return figures

    def tallies(self, probes: LabeledFaces, gallery: LabeledFaces, *, evaluator: str) -> dict[int, Tally]:
        """By rank whom of the probes' owners the evaluator does not find in a gallery that is known already."""
        rows = self._embed(evaluator, probes)
        known = self._embed(evaluator, gallery, keep=True)
        return {
            rank: Tally.of(
                protected_at(rows, probes.owners, gallery=known, gallery_owners=gallery.owners, rank=rank),
                probes.owners,
                people=self._people,
            )
            for rank in self._protocol.ranks
        }

    def mean(self, results: Sequence[EvaluatorResult]) -> dict[str, Any]:
        """The mean over results (one a round), people resampled together."""
        pairings: dict[str, dict[str, Any]] = {}
        controls = {rank: Tally.stack([result.control[rank] for result in results]) for rank in self._protocol.ranks}
        for pairing in Pairing:
            entry = pairings[str(pairing)] = {}
            for rank, control in controls.items():
                stacked = Tally.stack([result.tallies[pairing, rank] for result in results])
                entry[f"psr_at_{rank}"] = self._figure(stacked)
                entry[f"gain_at_{rank}"] = self._figure(stacked, minus=control)
        return {
            "evaluators": [result.evaluator for result in results],
            "control": {f"psr_at_{rank}": self._figure(tally) for rank, tally in controls.items()},
            "pairings": pairings,
        }

    def _figure(self, tally: Tally, *, minus: Tally | None = None) -> dict[str, float | int]:
        return figure(tally, minus=minus, resamples=self._protocol.resamples, seed=self._protocol.seed).as_json()

    def _each_person(self, result: EvaluatorResult) -> dict[str, Mapping[str, int]]:
        rank = self._protocol.ranks[0]
        cloaked, control = result.tallies[Pairing.CLOAKED_PROBE, rank], result.control[rank]
        return {
            name: {"probes": int(trials), "protected": int(hits), "protected_uncloaked": int(before)}
            for name, trials, hits, before in zip(self._people, cloaked.trials, cloaked.hits, control.hits, strict=True)
        }

    def _embed(self, evaluator: str, photos: LabeledFaces, *, keep: bool = False) -> np.ndarray:
        unknown = [seen for seen in photos.seen if (evaluator, id(seen)) not in self._known]
        fresh: dict[int, np.ndarray] = {}
        if unknown:
            rows = embed(self._runtime, evaluator, [seen.crop_u8 for seen in unknown])
            fresh = {id(seen): row for seen, row in zip(unknown, rows, strict=True)}
            if keep:
                # The ExtractedFace is kept with its row: an id is only unique while its object lives.
                self._known |= {(evaluator, id(seen)): (seen, fresh[id(seen)]) for seen in unknown}
        return np.stack(
            [fresh[id(seen)] if id(seen) in fresh else self._known[evaluator, id(seen)][1] for seen in photos.seen]
        )


def _own_similarity(
    probes: np.ndarray, owners: Sequence[str], gallery: np.ndarray, gallery_owners: Sequence[str]
) -> float:
    """Mean cosine of each probe to its owner's gallery photos."""
    own = np.asarray(owners, object)[:, None] == np.asarray(gallery_owners, object)[None, :]
    return round(float((probes @ gallery.T)[own].mean()), 4)
