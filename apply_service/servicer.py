"""ApplyService over gRPC: convert, call, convert back. Errors are mapped by facecloak_rpc's interceptor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import grpc
import structlog

from apply_service import convert
from apply_service.in_flight_limit import InFlightLimit
from apply_service.metrics import ApplyMetrics
from apply_service.photo_admission import PhotoAdmission
from apply_service.stream import answer_each
from apply_service.upload_ticket import Tickets, UploadTickets
from facecloak.cloaking.cloaker import Cloaker
from facecloak.limits import check_request_id
from facecloak.v1 import apply_pb2, apply_pb2_grpc
from facecloak_rpc.admission import Admitted
from facecloak_rpc.caller_limits import CallerLimits
from facecloak_rpc.errors import CallCancelled, DeadlineExceeded, ShuttingDown, to_status
from facecloak_rpc.identity import current_caller
from facecloak_rpc.interceptor import current_request_id, log_defect
from facecloak_rpc.refusals import Refusals, name_user

SERVICE_NAME = apply_pb2.DESCRIPTOR.services_by_name["ApplyService"].full_name
# A stream's messages wait for a place instead of being refused: its back pressure slows the client down.
_STREAM_WAIT_SECONDS = 60.0


class ApplyServicer(apply_pb2_grpc.ApplyServiceServicer):
    """See protos/facecloak/v1/apply.proto."""

    def __init__(
        self,
        cloaker: Cloaker,
        *,
        photos: PhotoAdmission,
        streams: InFlightLimit,
        stream_depth: int,
        stream_seconds: tuple[float, float],
        executor: ThreadPoolExecutor,
        metrics: ApplyMetrics,
        limits: CallerLimits,
        tickets: UploadTickets,
        refusals: Refusals,
    ) -> None:
        """``stream_seconds``: how long a stream's first message may take to come, and each later one."""
        self._cloaker = cloaker
        self._photos = photos
        self._streams = streams
        self._first_seconds, self._idle_seconds = stream_seconds
        self._stream_depth = stream_depth
        self._executor = executor
        self._metrics = metrics
        self._limits = limits
        self._upload_tickets = tickets
        self._refusals = refusals
        self._draining = threading.Event()

    def begin_drain(self) -> None:
        """Ends open streams, which clients may never close, after the photos they have sent."""
        self._draining.set()

    def ApplyCloak(  # noqa: N802 - the proto's name
        self, request: apply_pb2.ApplyCloakRequest, context: grpc.ServicerContext
    ) -> apply_pb2.ApplyCloakResponse:
        """Cloaks one photo, which the server has admitted."""
        check = call_checker(context)
        check()
        tickets = self._upload_tickets.of(context.invocation_metadata())
        return self._cloak(request, check=check, tickets=tickets)

    def FindFaces(  # noqa: N802
        self, request: apply_pb2.FindFacesRequest, context: grpc.ServicerContext
    ) -> apply_pb2.FindFacesResponse:
        """The faces of one photo, which the server has admitted."""
        check = call_checker(context)
        check_request_id(request.request_id)
        check()
        found = self._cloaker.faces(request.photo, check=check)
        return convert.faces_to(found, request_id=request.request_id)

    def ApplyCloakStream(  # noqa: N802
        self, request_iterator: Iterator[apply_pb2.ApplyCloakStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[apply_pb2.ApplyCloakStreamResponse]:
        """Cloaks many photos; one that is refused does not end the stream."""
        check = call_checker(context)
        tickets = self._upload_tickets.of(context.invocation_metadata())

        def admit(message: apply_pb2.ApplyCloakStreamRequest) -> AbstractContextManager[Admitted]:
            self._limits.count_call(current_caller())
            return self._photos.place(message.request.photo, wait_seconds=_STREAM_WAIT_SECONDS)

        def answer(
            message: apply_pb2.ApplyCloakStreamRequest, failure: Exception | None
        ) -> apply_pb2.ApplyCloakStreamResponse:
            try:
                if failure is not None:
                    raise failure
                response = self._cloak(message.request, check=check, tickets=tickets)
            except Exception as error:  # noqa: BLE001 - one photo's error is that photo's answer
                log_defect(error)
                self._refusals.note(error, method="ApplyCloakStream", caller=current_caller())
                status = to_status(error, request_id=current_request_id())
                return apply_pb2.ApplyCloakStreamResponse(sequence=message.sequence, error=status)
            return apply_pb2.ApplyCloakStreamResponse(sequence=message.sequence, response=response)

        with self._streams.place():
            yield from answer_each(
                request_iterator,
                answer,
                depth=self._stream_depth,
                admit=admit,
                size_of=apply_pb2.ApplyCloakStreamResponse.ByteSize,
                first_seconds=self._first_seconds,
                idle_seconds=self._idle_seconds,
                executor=self._executor,
                check=check,
                draining=self._draining,
            )
        if self._draining.is_set():
            raise ShuttingDown("the service is about to stop; send what has no answer yet to another one")

    def _cloak(
        self, request: apply_pb2.ApplyCloakRequest, *, check: Callable[[], None], tickets: Tickets
    ) -> apply_pb2.ApplyCloakResponse:
        caller = current_caller()
        subjects = convert.subjects_from(request, tenant=caller.tenant)
        if request.request_id:
            structlog.contextvars.bind_contextvars(client_request_id=request.request_id)
        name_user(subjects[0].user)
        photo = request.photo  # protobuf hands out a new copy each time
        tickets.check((subject.user for subject in subjects), photo)
        for subject in subjects:
            self._limits.count_user_call(caller, subject.user)
        result = self._cloaker.cloak(photo, subjects, recloak=request.recloak, check=check)
        self._metrics.answered(result)
        if request.require_cloaked:
            convert.require_cloaked(result)
        return convert.response_to(result, request_id=request.request_id)


def call_checker(context: grpc.ServicerContext) -> Callable[[], None]:
    """Returns a function that raises once nobody waits for the call any more; long work calls it between its steps."""

    def check() -> None:
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded("the deadline has passed")
        if not context.is_active():
            raise CallCancelled("the call was cancelled")

    return check
