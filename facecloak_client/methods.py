"""The methods of both services, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_client.service_config import APPLY_SERVICE, ENROLL_SERVICE

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """One method: its service, its name, and the messages' types."""

    service: str
    name: str
    request: type[Request]
    response: type[Response]

    @property
    def path(self) -> str:
        """As gRPC names it."""
        return f"/{self.service}/{self.name}"


APPLY_CLOAK = Method(APPLY_SERVICE, "ApplyCloak", apply_pb2.ApplyCloakRequest, apply_pb2.ApplyCloakResponse)
APPLY_CLOAK_STREAM = Method(
    APPLY_SERVICE, "ApplyCloakStream", apply_pb2.ApplyCloakStreamRequest, apply_pb2.ApplyCloakStreamResponse
)
FIND_FACES = Method(APPLY_SERVICE, "FindFaces", apply_pb2.FindFacesRequest, apply_pb2.FindFacesResponse)
ENROLL_USER = Method(ENROLL_SERVICE, "EnrollUser", enroll_pb2.EnrollUserRequest, enroll_pb2.EnrollUserResponse)
GET_ENROLLMENT = Method(
    ENROLL_SERVICE, "GetEnrollment", enroll_pb2.GetEnrollmentRequest, enroll_pb2.GetEnrollmentResponse
)
LIST_ENROLLMENTS = Method(
    ENROLL_SERVICE, "ListEnrollments", enroll_pb2.ListEnrollmentsRequest, enroll_pb2.ListEnrollmentsResponse
)
DELETE_USER = Method(ENROLL_SERVICE, "DeleteUser", enroll_pb2.DeleteUserRequest, enroll_pb2.DeleteUserResponse)
