"""The client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_client import methods
from facecloak_client.async_stream import Photos, cloak_each
from facecloak_client.attempts import Attempts
from facecloak_client.channels import Connection, Tls, Token
from facecloak_client.client import APPLY_TIMEOUT_S, DEFAULT_IN_FLIGHT, ENROLL_TIMEOUT_S, channel_of
from facecloak_client.enrollment import AsyncEnrollment, OpenAsyncio
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
from facecloak_client.validation import validation_asyncio

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass
class _Channel:
    connection: Connection
    interceptors: Sequence[grpc.aio.ClientInterceptor]
    _open: grpc.aio.Channel | None = field(default=None, init=False)

    @property
    def channel(self) -> grpc.aio.Channel:
        if self._open is None:  # in the event loop of the first call
            self._open = self.connection.open_asyncio(interceptors=self.interceptors)
        return self._open

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()


class AsyncFaceCloakClient:
    """Both services, in one event loop. As :class:`facecloak_client.FaceCloakClient`, with ``await``."""

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
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """See :class:`facecloak_client.FaceCloakClient`."""
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
    ) -> AsyncEnrollment:
        """Learns the user's mask: ``async for`` progress in what is returned, or ``await`` its ``result()``."""
        request = enroll_request(user_id, photos, options=options, consent=consent, request_id=request_id)
        begin = self._opening(request)
        return AsyncEnrollment(begin, Attempts(self._retries, timeout_s=timeout_s), request_id=request.request_id)

    async def validate(
        self,
        user_id: str,
        photos: PhotoLike | Iterable[PhotoLike],
        *,
        options: enroll_pb2.EnrollOptions | None = None,
        consent: enroll_pb2.ConsentRecord | None = None,
        timeout_s: float = APPLY_TIMEOUT_S,
    ) -> enroll_pb2.EnrollmentValidation:
        """Checks whether :meth:`enroll` would accept this. See :meth:`facecloak_client.FaceCloakClient.validate`."""
        request = enroll_request(user_id, photos, options=options, consent=consent, validate_only=True)
        attempts = Attempts(self._retries, timeout_s=timeout_s)
        return await validation_asyncio(self._opening(request), attempts, request_id=request.request_id)

    async def get_enrollment(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> enroll_pb2.Enrollment:
        """What is known of the user's stored mask. Raises MaskNotFound."""
        request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
        return (await self._call(methods.GET_ENROLLMENT, request, timeout_s=timeout_s)).enrollment

    async def list_enrollments(
        self, *, page_size: int = 0, timeout_s: float = APPLY_TIMEOUT_S
    ) -> AsyncIterator[enroll_pb2.EnrolledUser]:
        """Everybody who is enrolled: ``async for``. See :meth:`facecloak_client.FaceCloakClient.list_enrollments`."""
        async for page in self.enrollment_pages(page_size=page_size, timeout_s=timeout_s):
            for user in page.users:
                yield user

    async def enrollment_pages(
        self, *, page_size: int = 0, page_token: str = "", timeout_s: float = APPLY_TIMEOUT_S
    ) -> AsyncIterator[enroll_pb2.ListEnrollmentsResponse]:
        """The same, page by page; pages also count what cannot be listed."""
        while True:
            request = enroll_pb2.ListEnrollmentsRequest(page_size=page_size, page_token=page_token)
            page = await self._call(methods.LIST_ENROLLMENTS, request, timeout_s=timeout_s)
            yield page
            page_token = page.next_page_token
            if not page_token:
                return

    async def delete(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> bool:
        """Deletes the user's mask for good. Returns whether there was one."""
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        return (await self._call(methods.DELETE_USER, request, timeout_s=timeout_s)).deleted

    async def erase(self, user_id: str, *, timeout_s: float = APPLY_TIMEOUT_S) -> tuple[bool, bytes]:
        """As :meth:`delete`, and also returns the signed receipt, a JSON document; earlier releases send none."""
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        response = await self._call(methods.DELETE_USER, request, timeout_s=timeout_s)
        return response.deleted, response.receipt

    async def apply(
        self,
        photo: bytes,
        subjects: SubjectLike | Iterable[SubjectLike],
        *,
        require_cloaked: bool = True,
        recloak: bool = False,
        tickets: str | Iterable[str] = (),
        timeout_s: float = APPLY_TIMEOUT_S,
    ) -> apply_pb2.ApplyCloakResponse:
        """Cloaks a photo. See :meth:`facecloak_client.FaceCloakClient.apply`."""
        request = apply_request(photo, subjects, require_cloaked=require_cloaked, recloak=recloak)
        return await self._call(methods.APPLY_CLOAK, request, timeout_s=timeout_s, further=ticket_metadata(tickets))

    def apply_stream(
        self, photos: Photos[Key], *, in_flight: int = DEFAULT_IN_FLIGHT, tickets: str | Iterable[str] = ()
    ) -> AsyncIterator[StreamAnswer[Key]]:
        """Cloaks many photos over one call. See :meth:`facecloak_client.FaceCloakClient.apply_stream`.

        Args:
            photos: pairs as there, of an iterable or an async one; an iterable is asked within the event loop.
        """
        channel = self._channel(methods.APPLY_CLOAK_STREAM)

        further = ticket_metadata(tickets)

        def begin() -> Any:
            call = channel.channel.stream_stream(
                methods.APPLY_CLOAK_STREAM.path,
                request_serializer=apply_pb2.ApplyCloakStreamRequest.SerializeToString,
                response_deserializer=apply_pb2.ApplyCloakStreamResponse.FromString,
            )
            own = channel.connection.metadata()
            return call(metadata=(*own, *further, (REQUEST_ID_HEADER, new_request_id())))

        return cloak_each(photos, begin, in_flight=in_flight, retries=self._retries)

    async def find_faces(self, photo: bytes, *, timeout_s: float = APPLY_TIMEOUT_S) -> apply_pb2.FindFacesResponse:
        """The faces of a photo."""
        return await self._call(methods.FIND_FACES, apply_pb2.FindFacesRequest(photo=photo), timeout_s=timeout_s)

    async def close(self) -> None:
        """Closes the connections; running calls end."""
        for channel in self._channels.values():
            await channel.close()

    async def __aenter__(self) -> AsyncFaceCloakClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _opening(self, request: enroll_pb2.EnrollUserRequest) -> OpenAsyncio:
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

    async def _call(
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
            response: Response = await call(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise failure_of_call(error, request_id=request_id) from error
        return response

    def _channel(self, method: Method[Any, Any]) -> _Channel:
        return channel_of(self._channels, method)
