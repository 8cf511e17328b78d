"""The demo's two calls."""

from __future__ import annotations

from collections.abc import Callable

from demo.photos import DemoFailed, NamedPhoto
from facecloak.faces import Box
from facecloak.v1 import apply_pb2, common_pb2, enroll_pb2
from facecloak_client import CallFailed, FaceCloakClient, subject

USER = "demo-user"


def enroll(
    target: str, photo: NamedPhoto, *, progress: Callable[[enroll_pb2.EnrollProgress], None]
) -> enroll_pb2.Enrollment:
    """Enrolls the user from one photo; calls `progress` for every progress message."""
    with FaceCloakClient(enroll=target) as client:
        try:
            enrollment = client.enroll(USER, photo.data)
            for event in enrollment:
                progress(event)
            return enrollment.result()
        except CallFailed as error:
            raise DemoFailed(f"{photo.name} was not enrolled: {error}") from error


def cloak(target: str, photo: NamedPhoto, *, box: Box | None) -> tuple[bytes, str]:
    """Cloaks the user's face in a photo; `box` tells which of several faces it is.

    Returns:
        The cloaked photo's bytes, and the outcome's name such as "CLOAKED".
    """
    hint = common_pb2.FaceBox(x=box.x, y=box.y, width=box.width, height=box.height) if box is not None else None
    with FaceCloakClient(apply=target) as client:
        try:
            # The demo goes on without a photo that cannot be cloaked, and says why.
            response = client.apply(photo.data, subject(USER, box=hint), require_cloaked=False)
        except CallFailed as error:
            raise DemoFailed(f"{photo.name} was not cloaked: {error}") from error
    outcome = apply_pb2.CloakOutcome.Name(response.subjects[0].outcome).removeprefix("CLOAK_OUTCOME_")
    return response.photo, outcome
