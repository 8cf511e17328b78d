"""A whole measurement as one document for the ledger: its conditions, its rounds, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from facecloak_evaluation import color_video_vdp
from facecloak_evaluation.dataset import Person, digest_of_photos
from facecloak_evaluation.experiment import Experiment, RoundResult
from facecloak_evaluation.ledger import SCHEMA, provenance
from facecloak_evaluation.protocol import EvaluationProtocol, Pairing
from facecloak_evaluation.robustness_trials import removed_share
from facecloak_evaluation.visibility import VISIBILITY_DESCRIPTIONS


def describe_data(
    people: Sequence[Person], others: Sequence[Path], *, protocol: EvaluationProtocol, selection: str | None
) -> dict[str, Any]:
    """Who was measured, by name and by digest of the pictures."""
    used = protocol.gallery_photos + protocol.probe_photos
    return {
        "selection": selection or "all",
        "people": [person.name for person in people],
        "enrolled_photos_sha256": digest_of_photos(
            [path for person in people for path in person.enrolled(protocol.enroll_photos)]
        ),
        "people_photos_sha256": digest_of_photos([path for person in people for path in person.numbered(used)]),
        "others": len(others),
        "others_sha256": digest_of_photos(others),
    }


def mean_over_rounds(experiment: Experiment, rounds: Sequence[RoundResult]) -> dict[str, Any]:
    """Platform -> mean over all rounds' evaluators, each round with its own masks."""
    results = [result for round_ in rounds for result in round_.results]
    platforms = dict.fromkeys(result.platform for result in results)
    return {
        platform: experiment.evaluator.mean([result for result in results if result.platform == platform])
        for platform in platforms
    }


def worst_platform(mean: dict[str, Any], *, first: str, rank: int) -> dict[str, Any]:
    """The platform after which least is gained, and what share that is of the gain after the first one."""
    gains = {
        platform: figures["pairings"][str(Pairing.CLOAKED_PROBE)][f"gain_at_{rank}"]
        for platform, figures in mean.items()
    }
    worst = min(gains, key=lambda platform: gains[platform]["value"])
    whole = gains[first]["value"]
    share = round(gains[worst]["value"] / whole, 4) if whole > 0 else None
    return {"platform": worst, "gain": gains[worst], "share_of_first": share}


def mean_of_trials(rounds: Sequence[dict[str, Any]], *, rank: int) -> dict[str, Any]:
    """The trials' gains and visibility over all rounds' evaluators; what an attack removed, of the mean gain."""

    def gain(entries: Sequence[dict[str, Any]]) -> float:
        return fmean(entry[f"gain_at_{rank}"]["value"] for item in entries for entry in item["evaluators"].values())

    def visible(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"ssim_face": _mean_visibility(entries, "face"), "face": seen_by_people(entries, "face")}

    plain = fmean(
        result["pairings"][str(Pairing.CLOAKED_PROBE)][f"gain_at_{rank}"]["value"]
        for item in rounds
        for result in item["results"]
        if result["platform"] == item["results"][0]["platform"]
    )
    found: dict[str, Any] = {}
    if all("strengths" in item for item in rounds):
        columns = list(zip(*(item["strengths"] for item in rounds), strict=True))
        found["strengths"] = [
            {"strength": column[0]["strength"], **visible(column), f"gain_at_{rank}": round(gain(column), 4)}
            for column in columns
        ]
    if all("reapplied" in item for item in rounds):
        column = [item["reapplied"] for item in rounds]
        found["reapplied"] = visible(column) | {f"gain_at_{rank}": round(gain(column), 4)}
    if all("extraction" in item for item in rounds):
        found["extraction"] = {}
        for attacker, counts in rounds[0]["extraction"]["attackers"].items():
            found["extraction"][attacker] = {}
            for count in counts:
                left = gain([{"evaluators": item["extraction"]["attackers"][attacker][count]} for item in rounds])
                found["extraction"][attacker][count] = {
                    f"gain_at_{rank}": round(left, 4),
                    f"removed_at_{rank}": removed_share(plain, left),
                }
    if all("purified" in item for item in rounds):
        found["purified"] = {}
        for name in rounds[0]["purified"]:
            left = gain([item["purified"][name] for item in rounds])
            found["purified"][name] = {
                f"gain_at_{rank}": round(left, 4),
                f"removed_at_{rank}": removed_share(plain, left),
            }
    return found


def headline(mean: dict[str, Any], rounds: Sequence[dict[str, Any]], *, platform: str, rank: int) -> dict[str, Any]:
    """The few numbers that a table shows."""
    figures = mean[platform]
    return {
        "platform": platform,
        "rank": rank,
        "control": figures["control"][f"psr_at_{rank}"],
        "psr": figures["pairings"][str(Pairing.CLOAKED_PROBE)][f"psr_at_{rank}"],
        "gain": figures["pairings"][str(Pairing.CLOAKED_PROBE)][f"gain_at_{rank}"],
        "ssim_face": _mean_visibility(rounds, "face"),
        "ssim_crop112": _mean_visibility(rounds, "crop112"),
        "face": seen_by_people(rounds, "face"),
        "painted": seen_by_people(rounds, "face_painted"),
        "displacement": mean_displacement(rounds),
        "enrollment_seconds_median": round(fmean(item["enrollment"]["seconds_median"] for item in rounds), 1),
        "both_cloaked_gain": figures["pairings"][str(Pairing.BOTH_CLOAKED)][f"gain_at_{rank}"],
        "worst_platform": worst_platform(mean, first=platform, rank=rank),
        "by_surrogates": lowest_by_surrogates(rounds, platform=platform, rank=rank),
        "people_refused": sorted({name for item in rounds for name in item["enrollment"]["refused"]}),
    }


def assemble(
    *,
    experiment: Experiment,
    rounds: Sequence[RoundResult],
    protocol: EvaluationProtocol,
    data: dict[str, Any],
    finder: dict[str, Any],
    repeat: str,
    seconds: float,
    jobs: int,
    comparison: Sequence[RoundResult] = (),
) -> dict[str, Any]:
    """The document of the ledger.

    Args:
        comparison: rounds of another method under the same evaluators, platforms and people.
        data: from :func:`describe_data`.
        finder: the evaluation's finders, by role.
        repeat: a command line that repeats the measurement, without paths of this machine.
        seconds: the whole measurement took this long.
        jobs: how many enrollments ran at once: their times are to be read with it.
    """
    documents = [round_.document for round_ in rounds]
    mean = mean_over_rounds(experiment, rounds)
    rank = protocol.ranks[0]
    compared = [round_.document for round_ in comparison]
    compared_mean = mean_over_rounds(experiment, comparison)
    return {
        "schema": SCHEMA,
        "repeat": repeat,
        "headline": headline(mean, documents, platform=protocol.platforms[0], rank=rank),
        **provenance(),
        "protocol": protocol.as_json(),
        "data": data | {"gallery_photos": experiment.gallery_size, "left_out": sorted(experiment.left_out)},
        "evaluation_finder": finder,
        "face_hint": "at enrollment and at cloaking: the box that the evaluation's finder gives on the clean photo",
        "ssim": VISIBILITY_DESCRIPTIONS["ssim"],
        "visibility_measures": visibility_measures(),
        "visibility_places": {
            "face": "bounding rectangle of the aligned 112 square in the photo, at the photo's own size: the "
            "original's decoded pixels against the delivered photo's, before any platform",
            "crop112": "the same two photos, each cut to the aligned 112x112 crop at the clean photo's landmarks",
            "face_mask_only": "face, of a losslessly coded photo: the mask without any JPEG loss",
            "crop112_mask_only": "crop112, of a losslessly coded photo",
            "face_painted": "face_mask_only, against the original displaced by the same mask: what was painted",
        },
        "seconds": round(seconds, 1),
        "jobs": jobs,
        "mean": mean,
        "trials": mean_of_trials(documents, rank=rank),
        "rounds": documents,
    } | (
        {
            "comparison": {
                "headline": headline(compared_mean, compared, platform=protocol.platforms[0], rank=rank),
                "mean": compared_mean,
                "rounds": compared,
            }
        }
        if comparison
        else {}
    )


def visibility_measures() -> dict[str, str]:
    """What each figure of visibility is, and why one is missing."""
    if color_video_vdp.is_available():
        return dict(VISIBILITY_DESCRIPTIONS)
    return VISIBILITY_DESCRIPTIONS | {"jod": f"not measured; to add it: {color_video_vdp.HOW_TO_INSTALL}"}


def lowest_by_surrogates(rounds: Sequence[dict[str, Any]], *, platform: str, rank: int) -> dict[str, Any] | None:
    """Of the recognizers that the masks were learned against the one that still recognizes most; None where none was
    asked."""
    figures = {
        result["evaluator"]: result["pairings"][str(Pairing.CLOAKED_PROBE)][f"psr_at_{rank}"]
        for item in rounds
        for result in item.get("results_by_surrogates", ())
        if result["platform"] == platform
    }
    if not figures:
        return None
    lowest = min(figures, key=lambda name: figures[name]["value"])
    return {"lowest": lowest, f"psr_at_{rank}": figures[lowest]}


def mean_displacement(rounds: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """How far masks displace, the mean over rounds; None where none is known to."""
    sizes = [item["displacement"] for item in rounds if item.get("displacement")]
    names = ("rms_percent", "largest_percent", "asymmetry_percent")
    return {name: round(fmean(size[name] for size in sizes), 3) for name in names} if sizes else None


def seen_by_people(rounds: Sequence[dict[str, Any]], place: str) -> dict[str, float]:
    """SSIMULACRA2, FLIP and JOD at a place, the mean over rounds; empty where nothing was measured there."""
    places = [item["visibility"][place] for item in rounds if place in item["visibility"]]
    names = [name for name in (places[0] if places else ()) if name.startswith(("jod", "ssimulacra2", "flip_99"))]
    return {name: round(fmean(values[name] for values in places), 4) for name in names}


def _mean_visibility(rounds: Sequence[dict[str, Any]], place: str) -> float | None:
    values = [item["visibility"][place]["ssim_mean"] for item in rounds if place in item["visibility"]]
    return round(fmean(values), 4) if values else None
