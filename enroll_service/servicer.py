"""EnrollService over gRPC: convert, call, convert back. Errors are mapped by facecloak_rpc's interceptor."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import structlog

from enroll_service import convert
from enroll_service.enrollments import Enrollments
from facecloak.v1 import enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.errors import CallCancelled
from facecloak_rpc.identity import current_caller
from facecloak_rpc.logging import user_tag

SERVICE_NAME = enroll_pb2.DESCRIPTOR.services_by_name["EnrollService"].full_name


class EnrollServicer(enroll_pb2_grpc.EnrollServiceServicer):
    """See protos/facecloak/v1/enroll.proto."""

    def __init__(self, enrollments: Enrollments) -> None:
        self._enrollments = enrollments

    def EnrollUser(  # noqa: N802 - the proto's name
        self, request: enroll_pb2.EnrollUserRequest, context: grpc.ServicerContext
    ) -> Iterator[enroll_pb2.EnrollUserResponse]:
        """Progress, then the result; or what would become of it."""
        caller = current_caller()
        enrollment = convert.request_from(request, caller=caller)
        structlog.contextvars.bind_contextvars(user=user_tag(enrollment.user), client_request_id=request.request_id)
        if request.validate_only:
            validation = self._enrollments.validate(enrollment, cancelled=lambda: not context.is_active())
            yield convert.validation_to(validation)
            return
        subscriber = self._enrollments.enroll(enrollment)
        # False: the call ended before we could ask to be told so.
        if not context.add_callback(subscriber.leave):
            subscriber.leave(CallCancelled("the call was cancelled"))
        for event in subscriber:
            yield convert.progress_to(event)
        yield enroll_pb2.EnrollUserResponse(result=convert.enrollment_to(subscriber.result))

    def GetEnrollment(  # noqa: N802
        self, request: enroll_pb2.GetEnrollmentRequest, context: grpc.ServicerContext
    ) -> enroll_pb2.GetEnrollmentResponse:
        """What is known about the stored mask."""
        enrollment = self._enrollments.get(current_caller().user(request.user_id))
        return enroll_pb2.GetEnrollmentResponse(enrollment=convert.enrollment_to(enrollment))

    def ListEnrollments(  # noqa: N802
        self, request: enroll_pb2.ListEnrollmentsRequest, context: grpc.ServicerContext
    ) -> enroll_pb2.ListEnrollmentsResponse:
        """A page of the users of the caller's tenant."""
        tenant = current_caller().tenant
        page = self._enrollments.list(tenant, page_size=request.page_size, page_token=request.page_token)
        return convert.page_to(page)

    def DeleteUser(  # noqa: N802
        self, request: enroll_pb2.DeleteUserRequest, context: grpc.ServicerContext
    ) -> enroll_pb2.DeleteUserResponse:
        """Deletes the mask; deleting nothing succeeds."""
        receipt = self._enrollments.delete(current_caller().user(request.user_id))
        return enroll_pb2.DeleteUserResponse(deleted=receipt.found, receipt=receipt.to_bytes())
