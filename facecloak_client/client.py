"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_client import methods
from facecloak_client.attempts import Attempts
from facecloak_client.channels import Connection, Tls, Token
from facecloak_client.enrollment import Enrollment, Open
from facecloak_client.failures import REQUEST_ID_HEADER, failure_of_call
from facecloak_client.feed import Key, StreamAnswer
from facecloak_client.methods import Method
from facecloak_client.requests import (
    PhotoLike,
    SubjectLike,
    apply_request,
    enroll_request,
    new_request_id,
    ticket_metadata,
)
from facecloak_client.service_config import APPLY_SERVICE, ENROLL_SERVICE, Retries
from facecloak_client.stream import cloak_each
from facecloak_client.validation import validation

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

APPLY_TIMEOUT_S = 30.0
ENROLL_TIMEOUT_S = 900.0
DEFAULT_IN_FLIGHT = 8


@dataclass
class _Channel:
    connection: Connection
    interceptors: Sequence[Any]
    _open: grpc.Channel | None = field(default=None, init=False)

    @property
    def channel(self) -> grpc.Channel:
        if self._open is None:
            self._open = grpc.intercept_channel(self.connection.open(), *self.interceptors)
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open.close()


class FaceCloakClient:
    """A client of both services, safe to share between threads.

    Close it, or use it in a ``with`` block. Methods raise subclasses of :class:`facecloak_client.CallFailed`, after
    they have retried what is worth retrying (:class:`facecloak_client.Retries`).
    """

    def __init__(
        self,
        *,
        enroll: str = "",
        apply: str = "",
        tls: Tls | None = None,
        token: Token | None = None,
        token_in_the_clear: bool = False,
        headers: Sequence[tuple[str, str]] = (),
        retries: Retries | None = None,
        health_checks: bool = True,
        interceptors: Sequence[Any] = (),
    ) -> None:
        """Opens no connection yet.

        Args:
            enroll: ``host:port`` of the enrollment service; "" if you do not call it.
            apply: ``host:port`` of the apply service, or a name of several such as ``dns:///apply.svc:50062``.
            interceptors: gRPC's own, such as those of OpenTelemetry.
            tls, token, token_in_the_clear, headers, retries, health_checks: see :class:`facecloak_client.Connection`.
        """
        self._retries = retries or Retries()
        self._channels = {
            service: _Channel(
                Connection(
                    target, service, tls=tls, token=token, token_in_the_clear=token_in_the_clear,
                    headers=headers,
                    retries=self._retries, health_checks=health_checks,
                ),
                interceptors,
            )
            for service, target in ((ENROLL_SERVICE, enroll), (APPLY_SERVICE, apply))
            if target
        }  # fmt: skip

    def enroll(
        self,
        user_id: str,
        photos: PhotoLike | Iterable[PhotoLike],
        *,
        options: enroll_pb2.EnrollOptions | None = None,
        consent: enroll_pb2.ConsentRecord | None = None,
        request_id: str = "",
        timeout_s: float = ENROLL_TIMEOUT_S,
    ) -> Enrollment:
        """Starts learning the user's mask from 1 to 16 photos. Iterate over what is returned for progress, or ask for
        its ``result()``. ``consent``: what :func:`facecloak_client.consent` returns."""
        request = enroll_request(user_id, photos, options=options, consent=consent, request_id=request_id)
        begin = self._opening(request)
        return Enrollment(begin, Attempts(self._retries, timeout_s=timeout_s), request_id=request.request_id)

    def validate(
        self,
        user_id: str,
        photos: PhotoLike | Iterable[PhotoLike],
        *,
        options: enroll_pb2.EnrollOptions | None = None,
        consent: enroll_pb2.ConsentRecord | None = None,
        timeout_s: float = APPLY_TIMEOUT_S,
    ) -> enroll_pb2.EnrollmentValidation:
        """Checks whether :meth:`enroll` would accept this, without enrolling: photos, faces, quality, consent, rights,
        room in the queue and the store are checked. Whether several photos show one person is not.

        Raises the CallFailed that the enrollment would; and Defect if the service is of a release that cannot validate.
        """
        request = enroll_request(user_id, photos, options=options, consent=consent, validate_only=True)
        attempts = Attempts(self._retries, timeout_s=timeout_s)
        return validation(self._opening(request), attempts, request_id=request.request_id)

    def get_enrollment(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> enroll_pb2.Enrollment:
        """What is known of the user's stored mask. Raises MaskNotFound."""
        request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
        return self._call(methods.GET_ENROLLMENT, request, timeout_s=timeout_s).enrollment

    def list_enrollments(
        self, *, page_size: int = 0, timeout_s: float = APPLY_TIMEOUT_S
    ) -> Iterator[enroll_pb2.EnrolledUser]:
        """Everybody who is enrolled in the caller's tenant; further pages are fetched as you iterate.

        Args:
            page_size: most users of a page, up to 1000; 0 leaves it to the service.
            timeout_s: for each page.
        """
        for page in self.enrollment_pages(page_size=page_size, timeout_s=timeout_s):
            yield from page.users

    def enrollment_pages(
        self, *, page_size: int = 0, page_token: str = "", timeout_s: float = APPLY_TIMEOUT_S
    ) -> Iterator[enroll_pb2.ListEnrollmentsResponse]:
        """The same, page by page; pages also count what cannot be listed. ``page_token``: where to continue."""
        while True:
            request = enroll_pb2.ListEnrollmentsRequest(page_size=page_size, page_token=page_token)
            page = self._call(methods.LIST_ENROLLMENTS, request, timeout_s=timeout_s)
            yield page
            page_token = page.next_page_token
            if not page_token:
                return

    def delete(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> bool:
        """Deletes the user's mask for good. Returns whether there was one. May be repeated until it succeeds."""
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        return self._call(methods.DELETE_USER, request, timeout_s=timeout_s).deleted

    def erase(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> tuple[bool, bytes]:
        """As :meth:`delete`, and also returns the signed receipt, a JSON document; earlier releases send none."""
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        response = self._call(methods.DELETE_USER, request, timeout_s=timeout_s)
        return response.deleted, response.receipt

    def apply(
        self,
        photo: bytes,
        subjects: SubjectLike | Iterable[SubjectLike],
        *,
        require_cloaked: bool = True,
        recloak: bool = False,
        tickets: str | Iterable[str] = (),
        timeout_s: float = APPLY_TIMEOUT_S,
    ) -> apply_pb2.ApplyCloakResponse:
        """Cloaks a photo. A photo that comes back is safe to publish: if a subject is not cloaked, NotCloaked is raised
        and says why. With ``require_cloaked`` False it may come back uncloaked: check every outcome.
        ``tickets``: upload tickets, one for each subject, if the service requires them."""
        request = apply_request(photo, subjects, require_cloaked=require_cloaked, recloak=recloak)
        return self._call(methods.APPLY_CLOAK, request, timeout_s=timeout_s, further=ticket_metadata(tickets))

    def apply_stream(
        self,
        photos: Iterable[tuple[Key, apply_pb2.ApplyCloakRequest]],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        tickets: str | Iterable[str] = (),
    ) -> Iterator[StreamAnswer[Key]]:
        """Cloaks many photos over one call, and yields an answer for each when it is ready, in any order.

        Args:
            photos: pairs of a key, which the answer carries, and what :func:`facecloak_client.apply_request` makes.
                They are taken, in another thread, when there is room: at most ``in_flight`` photos are held at once.
            tickets: upload tickets of all these photos, at most 64; they are sent when the stream is opened.

        A stream that breaks is opened again, and photos without an answer are sent again. A refused photo does not stop
        the others: its answer has the failure. Raises CallFailed if the stream cannot go on.
        """
        channel = self._channel(methods.APPLY_CLOAK_STREAM)
        call = channel.channel.stream_stream(
            methods.APPLY_CLOAK_STREAM.path,
            request_serializer=apply_pb2.ApplyCloakStreamRequest.SerializeToString,
            response_deserializer=apply_pb2.ApplyCloakStreamResponse.FromString,
        )

        further = ticket_metadata(tickets)

        def begin(requests: Iterator[apply_pb2.ApplyCloakStreamRequest]) -> Any:
            own = channel.connection.metadata()
            return call(requests, metadata=(*own, *further, (REQUEST_ID_HEADER, new_request_id())))

        return cloak_each(photos, begin, in_flight=in_flight, retries=self._retries)

    def find_faces(self, photo: bytes, *, timeout_s: float = APPLY_TIMEOUT_S) -> apply_pb2.FindFacesResponse:
        """The faces of a photo, to choose whose is whose: send one with :func:`facecloak_client.subject`."""
        return self._call(methods.FIND_FACES, apply_pb2.FindFacesRequest(photo=photo), timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the connections; running calls end."""
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> FaceCloakClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opening(self, request: enroll_pb2.EnrollUserRequest) -> Open:
        """What begins the call, as often as it is asked to."""
        channel = self._channel(methods.ENROLL_USER)

        def begin(seconds: float) -> Any:
            call = channel.channel.unary_stream(
                methods.ENROLL_USER.path,
                request_serializer=enroll_pb2.EnrollUserRequest.SerializeToString,
                response_deserializer=enroll_pb2.EnrollUserResponse.FromString,
            )
            metadata = (*channel.connection.metadata(), (REQUEST_ID_HEADER, request.request_id))
            return call(request, timeout=seconds, metadata=metadata)

        return begin

    def _call(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout_s: float,
        further: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        channel = self._channel(method)
        call = channel.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        request_id = new_request_id()
        metadata = (*channel.connection.metadata(), *further, (REQUEST_ID_HEADER, request_id))
        try:
            response: Response = call(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise failure_of_call(error, request_id=request_id) from error
        return response

    def _channel(self, method: Method[Any, Any]) -> _Channel:
        return channel_of(self._channels, method)


Kind = TypeVar("Kind")


def channel_of(channels: dict[str, Kind], method: Method[Any, Any]) -> Kind:
    """Raises ValueError where the client was not told where the method's service is."""
    try:
        return channels[method.service]
    except KeyError:
        name = "enroll" if method.service == ENROLL_SERVICE else "apply"
        raise ValueError(f"{method.name} needs {name}=HOST:PORT, which the client was not given") from None
