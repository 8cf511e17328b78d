"""The demo's two calls, as any client would make them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import grpc

from demo.photos import DemoFailed, NamedPhoto
from facecloak.faces import Box
from facecloak.v1 import apply_pb2, apply_pb2_grpc, common_pb2, enroll_pb2, enroll_pb2_grpc

USER = "demo-user"
ENROLL_SECONDS_LIMIT = 900.0
APPLY_SECONDS_LIMIT = 60.0
_MESSAGE_BYTES_LIMIT = 64 * 2**20
_OPTIONS = [
    ("grpc.max_send_message_length", _MESSAGE_BYTES_LIMIT),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_LIMIT),
]


def enroll(
    target: str, photo: NamedPhoto, *, progress: Callable[[enroll_pb2.EnrollProgress], None]
) -> enroll_pb2.Enrollment:
    """Enrolls the user from one photo; calls `progress` for every progress message."""
    request = enroll_pb2.EnrollUserRequest(
        request_id=str(uuid.uuid4()), user_id=USER, photos=[enroll_pb2.EnrollmentPhoto(data=photo.data)]
    )
    with grpc.insecure_channel(target, options=_OPTIONS) as channel:
        stub = enroll_pb2_grpc.EnrollServiceStub(channel)
        try:
            for message in stub.EnrollUser(request, timeout=ENROLL_SECONDS_LIMIT):
                if message.HasField("result"):
                    return message.result
                progress(message.progress)
        except grpc.RpcError as error:
            raise DemoFailed(f"{photo.name} was not enrolled: {_text(error)}") from error
    raise DemoFailed("the enrollment ended without a result")


def cloak(target: str, photo: NamedPhoto, *, box: Box | None) -> tuple[bytes, str]:
    """Cloaks the user's face in a photo; `box` tells which of several faces it is.

    Returns:
        The cloaked photo's bytes, and the outcome's name such as "CLOAKED".
    """
    subject = apply_pb2.Subject(user_id=USER)
    if box is not None:
        subject.face.box.CopyFrom(common_pb2.FaceBox(x=box.x, y=box.y, width=box.width, height=box.height))
    request = apply_pb2.ApplyCloakRequest(photo=photo.data, subjects=[subject])
    with grpc.insecure_channel(target, options=_OPTIONS) as channel:
        try:
            response = apply_pb2_grpc.ApplyServiceStub(channel).ApplyCloak(request, timeout=APPLY_SECONDS_LIMIT)
        except grpc.RpcError as error:
            raise DemoFailed(f"{photo.name} was not cloaked: {_text(error)}") from error
    outcome = apply_pb2.CloakOutcome.Name(response.subjects[0].outcome).removeprefix("CLOAK_OUTCOME_")
    return response.photo, outcome


def _text(error: grpc.RpcError) -> str:
    return f"{error.details()} ({error.code().name})" if isinstance(error, grpc.Call) else str(error)
