"""What one enrollment takes with the default settings, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pictures import astronaut, jpeg


def measure(model_repository: Path, *, runs: int) -> dict[str, Any]:
    """Enroll one photo `runs` times; the first run also opens the recognizers' sessions."""
    from enroll_service.pipeline import PipelineSettings
    from enroll_service.pipeline.enroller import Enroller
    from enroll_service.pipeline.intake.photo import EnrollmentPhoto
    from facecloak.faces import FaceFinder
    from facecloak.recognizers.onnx_runtime import OnnxRuntime

    settings = PipelineSettings()
    runtime = OnnxRuntime(model_repository, names=settings.surrogates)
    enroller = Enroller(runtime=runtime, finder=FaceFinder.load(model_repository), settings=settings)
    photo = jpeg(astronaut(), quality=95)
    try:
        masks = [
            enroller.run([EnrollmentPhoto(photo)], progress=lambda progress: None, cancelled=lambda: False)
            for _ in range(runs)
        ]
    finally:
        runtime.close()
    stages = [dict(mask.report["seconds"]) for mask in masks]
    totals = [sum(seconds.values()) for seconds in stages]
    by_stage = {name: round(median(seconds[name] for seconds in stages), 2) for name in stages[0]}
    return {
        "photo": "scikit-image astronaut, 512x512, JPEG 95",
        "settings": settings.model_dump(mode="json"),
        "runs_seconds": [round(total, 2) for total in totals],
        "seconds_median": round(median(totals), 2),
        "seconds_by_stage": by_stage,
        "share_by_stage": {name: round(seconds / sum(by_stage.values()), 3) for name, seconds in by_stage.items()},
    }
