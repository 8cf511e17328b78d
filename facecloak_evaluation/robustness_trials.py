"""What a measurement tries beyond its platforms: other strengths, the cloak twice, and taking it off again.

All of it on the protocol's first platform, against the clean gallery, by the round's evaluators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facecloak_evaluation.delivered_photo import CleanPhoto, DeliveredPhoto, change_seen, decode, visibility_summary
from facecloak_evaluation.displacement_attack import Pair, Undoing, extract, undoing
from facecloak_evaluation.evaluator import Evaluator, EvaluatorResult, LabeledFaces
from facecloak_evaluation.extraction_attack import (
    Attacker,
    detail_of,
    estimated_residual,
    known_residual,
    remover,
)
from facecloak_evaluation.face_extraction import ExtractedFace
from facecloak_evaluation.platforms import PLATFORMS, Platform
from facecloak_evaluation.protocol import EvaluationProtocol, Pairing, Protector, ScalableProtector
from facecloak_evaluation.purification import PURIFIERS, after

_PUBLIC_PHOTOS = 100
"""Photos of other people from which a blind attacker learns what faces have in common."""

ATTACKERS: tuple[str, ...] = (*Attacker, *Undoing)

TrialFaces = Mapping[tuple[str, int], list[ExtractedFace]]


class Each(Protocol):
    """Does work on items, several at once, and gives the results in order."""

    def __call__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]: ...


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of one round.

    Attributes:
        probes: the enrolled people's clean probes.
        cloaked: the same, as delivered at the service's own strength.
        uploaded: `cloaked` after the first platform, as recognizers get them.
        gallery: the clean gallery.
        results: of the first platform, one an evaluator.
        strangers: photos of others, on which an attacker sees a user's cloak as well as on the user's own.
        upload: puts photos through a platform and finds their faces.
    """

    protocol: EvaluationProtocol
    evaluator: Evaluator
    protector: Protector
    probes: Sequence[CleanPhoto]
    cloaked: Sequence[DeliveredPhoto]
    uploaded: LabeledFaces
    gallery: LabeledFaces
    results: Sequence[EvaluatorResult]
    strangers: Sequence[tuple[Path, ExtractedFace]]
    upload: Callable[[Sequence[CleanPhoto] | Sequence[DeliveredPhoto], Platform], LabeledFaces]
    each: Each
    advance: Callable[[str, str], None]

    def document(self) -> dict[str, Any]:
        """Everything that the protocol asks for, as JSON figures."""
        found: dict[str, Any] = {}
        if self.protocol.strengths and isinstance(self.protector, ScalableProtector):
            found["strengths"] = [self._at_strength(strength, self.protector) for strength in self.protocol.strengths]
        if self.protocol.reapply:
            found["reapplied"] = self._reapplied()
        if self.protocol.extraction_photos:
            found["extraction"] = self._extraction()
        if self.protocol.purify:
            found["purified"] = {name: self._purified(purifier) for name, purifier in PURIFIERS.items()}
        return found

    def _at_strength(self, strength: float, protector: ScalableProtector) -> dict[str, Any]:
        def cloak(photo: CleanPhoto) -> DeliveredPhoto:
            cloaked = protector.cloak_at(photo.owner, photo.data, photo.box, strength=strength)
            return DeliveredPhoto(photo, cloaked.outcome, cloaked.photo, decode(cloaked.photo))

        delivered = self.each(cloak, self.probes)
        self.advance("try", f"strength {strength}")
        return {"strength": strength, **self._seen(delivered), "evaluators": self._judged(self._uploaded(delivered))}

    def _reapplied(self) -> dict[str, Any]:
        """The cloaked photo uploaded and cloaked a second time, after the tag that forbids it was stripped."""
        from facecloak.photos.file_tag import without_tag

        def cloak(photo: DeliveredPhoto) -> DeliveredPhoto:
            again = self.protector.cloak(photo.clean.owner, without_tag(photo.data), photo.clean.box)
            return DeliveredPhoto(photo.clean, again.outcome, again.photo, decode(again.photo))

        delivered = self.each(cloak, self.cloaked)
        self.advance("try", "cloaked twice")
        return {**self._seen(delivered), "evaluators": self._judged(self._uploaded(delivered))}

    def _extraction(self) -> dict[str, Any]:
        owners = list(dict.fromkeys(self.uploaded.owners))
        attacked = dict(zip(owners, self.each(self._attacked, owners), strict=True))
        attackers: dict[str, dict[str, Any]] = {}
        counts = [
            count
            for count in self.protocol.extraction_photos
            if all((Attacker.PAIRS, count) in evidence for evidence in attacked.values())
        ]
        for attacker in ATTACKERS:
            attackers[str(attacker)] = {}
            for count in counts:
                parts = {owner: iter(attacked[owner][attacker, count]) for owner in owners}
                seen = tuple(next(parts[owner]) for owner in self.uploaded.owners)
                attackers[str(attacker)][str(count)] = self._judged(LabeledFaces(seen, self.uploaded.owners))
        return {
            "photos": "other people's photos cloaked with the user's mask stand in for the user's own, of which there "
            "are too few: what is subtracted is the mask, whatever face is under it",
            "photo_counts_left_out": [count for count in self.protocol.extraction_photos if count not in counts],
            "attackers": attackers,
        }

    def _attacked(self, owner: str) -> TrialFaces:
        """One person's probes after each attack; counts of photos that are not to be had are left out."""
        from facecloak.faces import aligned_crop

        platform = PLATFORMS[self.protocol.platforms[0]]
        common = self._common_detail()
        known: list[np.ndarray] = []
        estimated: list[np.ndarray] = []
        pairs: list[Pair] = []
        for path, seen in self.strangers:
            if len(known) == max(self.protocol.extraction_photos):
                break
            data = path.read_bytes()
            cloaked = self.protector.cloak(owner, data, seen.face.box)
            if not cloaked.is_cloaked:
                continue
            pixels = decode(cloaked.photo)
            landmarks = platform.move(seen.face.landmarks, width=pixels.shape[1], height=pixels.shape[0])
            crop = aligned_crop(platform.process(pixels), landmarks)
            known.append(known_residual(crop, seen.crop_u8))
            estimated.append(estimated_residual(crop, common))
            pairs.append((crop, seen.crop_u8))
        probes = [seen for seen, of in zip(self.uploaded.seen, self.uploaded.owners, strict=True) if of == owner]
        results: dict[tuple[str, int], list[ExtractedFace]] = {}
        for count in self.protocol.extraction_photos:
            if count > len(known):
                continue
            removers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
                attacker: remover(
                    attacker, (estimated if attacker is Attacker.BLIND else known)[:count], common_detail=common
                )
                for attacker in Attacker
            }
            extraction = extract(pairs[:count])
            removers |= {kind: undoing(extraction, also_painted=kind is Undoing.BOTH) for kind in Undoing}
            for attacker, remove in removers.items():
                results[attacker, count] = [
                    ExtractedFace(remove(seen.crop_u8), seen.face, seen.found_afresh) for seen in probes
                ]
        self.advance("try", owner)
        return results

    def _purified(self, purifier: Platform) -> dict[str, Any]:
        """Cloaked and uncloaked probes after the first platform and the purifier: what is left above the uncloaked."""
        platform = after(PLATFORMS[self.protocol.platforms[0]], purifier)
        cloaked, clean = self.upload(self.cloaked, platform), self.upload(self.probes, platform)
        figures: dict[str, Any] = {}
        for result in self.results:
            control = self.evaluator.tallies(clean, self.gallery, evaluator=result.evaluator)
            left = self.evaluator.probes(cloaked, self.gallery, evaluator=result.evaluator, control=control)
            missed = {f"control_psr_at_{rank}": round(float(tally.share()), 4) for rank, tally in control.items()}
            figures[result.evaluator] = self._told(result, left) | missed
        self.advance("try", purifier.name)
        return {"description": purifier.description, "evaluators": figures}

    def _common_detail(self) -> np.ndarray:
        """Of photos that the attacker does not cloak: the last ones, where the attack takes the first."""
        return np.mean([detail_of(seen.crop_u8) for _, seen in self.strangers[-_PUBLIC_PHOTOS:]], axis=0)

    def _uploaded(self, delivered: Sequence[DeliveredPhoto]) -> LabeledFaces:
        return self.upload(delivered, PLATFORMS[self.protocol.platforms[0]])

    def _judged(self, probes: LabeledFaces) -> dict[str, Any]:
        """By evaluator: PSR, gain, and the share of the plain cloak's gain that is gone."""
        return {
            result.evaluator: self._told(
                result,
                self.evaluator.probes(probes, self.gallery, evaluator=result.evaluator, control=result.control),
            )
            for result in self.results
        }

    def _told(self, result: EvaluatorResult, figures: dict[str, Any]) -> dict[str, Any]:
        """With the share of the plain cloak's gain that is gone."""
        for rank in self.protocol.ranks:
            plain = result.document["pairings"][str(Pairing.CLOAKED_PROBE)][f"gain_at_{rank}"]["value"]
            figures[f"removed_at_{rank}"] = removed_share(plain, figures[f"gain_at_{rank}"]["value"])
        return figures

    def _seen(self, delivered: Sequence[DeliveredPhoto]) -> dict[str, Any]:
        measured = self.each(change_seen, [photo for photo in delivered if photo.is_cloaked])
        places = measured[0] if measured else {}
        return {"visibility": {place: visibility_summary([item[place] for item in measured]) for place in places}}


def removed_share(plain_gain: float, gain_left: float) -> float | None:
    """How much of a protection is gone, 0..1 (below 0 where it grew); None where there was none."""
    return round(1 - gain_left / plain_gain, 4) if plain_gain > 0 else None
