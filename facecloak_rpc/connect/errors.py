"""Errors as Connect has them: a google.rpc.Status as JSON, and its code as an HTTP status."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import any_pb2, json_format
from google.rpc import code_pb2, status_pb2

# https://connectrpc.com/docs/protocol#error-codes
HTTP_STATUS = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}
# The one code that Connect spells otherwise.
_NAMES = {code_pb2.CANCELLED: "canceled"}


def error_document(status: status_pb2.Status) -> dict[str, Any]:
    """``{"code": ..., "message": ..., "details": [...]}``; ``debug`` of a detail is the detail as JSON."""
    name = _NAMES.get(status.code) or code_pb2.Code.Name(status.code).lower()
    return {"code": name, "message": status.message, "details": [_detail(detail) for detail in status.details]}


def _detail(packed: any_pb2.Any) -> dict[str, Any]:
    value = base64.b64encode(packed.value).decode().rstrip("=")
    document: dict[str, Any] = {"type": packed.TypeName(), "value": value}
    try:
        readable = json_format.MessageToDict(packed)
    except TypeError:  # a message that this process does not know
        return document
    readable.pop("@type", None)
    return {**document, "debug": readable}
