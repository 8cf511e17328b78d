"""An enrollment's report: JSON both ways, and masks of other releases."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from enroll_service.pipeline.report import (
    BankReport,
    DisplacementReport,
    EnrollmentReport,
    PhotoLeftOut,
    Similarity,
    SynthesisReport,
)

REPORT = EnrollmentReport(
    condition="held-out variations",
    variations=16,
    similarities={"one": Similarity(before=0.9, after=0.2, psr_estimate=0.5), "two": Similarity(before=0.8, after=0.1)},
    psr_estimate=0.5,
    jod=9.05,
    ssimulacra2=71.5,
    displacement=DisplacementReport(rms_percent=2.3, largest_percent=5.9, asymmetry_percent=0.02),
    ssim=0.86,
    ssim_painted=0.97,
    ssim_at_own_size=0.9,
    psnr_db=30.1,
    max_level=31,
    chroma_share=0.01,
    warnings=("The enrolled face is small.",),
    surrogates=("one", "two"),
    synthesis=SynthesisReport(synthesizer="mesh-2", pictures={"mesh-2": 160}),
    photo_count=2,
    photos_before=1,
    photos_left_out=(PhotoLeftOut(photo=3, reason="NO_FACE"),),
    strength="strong",
    kind="full",
    geometry="uv-112",
    settings={"masks": 1},
    seconds={"perturb": 12.5},
)


@pytest.mark.parametrize("bank", [None, BankReport(masks=2, mask_seconds=(6.0, 7.5), ssim=0.85)])
def test_a_report_comes_back_from_json_as_it_was(bank: BankReport | None) -> None:
    report = REPORT.model_copy(update={"bank": bank})
    document = json.loads(json.dumps(report.document()))
    assert EnrollmentReport.read(document) == report
    assert ("bank" in document) == (bank is not None)


def test_a_report_of_an_earlier_release_is_read() -> None:
    # As masks of the first releases have it: makers' counts beside the rest, other names, no estimates.
    old = {
        "ssim": 0.857,
        "similarities": {"one": {"before": 0.9, "after": 0.2}},
        "surrogates": ["one"],
        "synthesis": {"synthesizer": "mesh-2", "mesh-2": 150, "elastic-1": 10},
        "photo_count": 1,
        "steps": 20,
        "seconds": {"synthesize": 3.1},
    }
    read = EnrollmentReport.read(old)
    assert (read.ssim, read.photo_count, read.psr_estimate) == (0.857, 1, None)
    assert read.synthesis == SynthesisReport(synthesizer="mesh-2", pictures={"mesh-2": 150, "elastic-1": 10})
    assert EnrollmentReport.read({}) == EnrollmentReport()


@pytest.mark.parametrize(
    "unreadable",
    [
        {"ssim": None},
        {"ssim": "much"},
        {"similarities": ["one"]},
        {"similarities": {"one": None}},
        {"warnings": 3},
        {"photos_left_out": [{"photo": "third"}]},
        {"synthesis": "mesh"},
        {"bank": []},
        {"photo_count": -0.5},
    ],
)
def test_what_another_release_wrote_otherwise_is_not_known(unreadable: dict[str, object]) -> None:
    read = EnrollmentReport.read({"condition": "some"} | unreadable)
    assert read.condition == "some"
    # But this release does not write it.
    with pytest.raises(ValidationError):
        EnrollmentReport.model_validate(unreadable)
