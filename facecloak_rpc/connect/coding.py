"""Messages as a call's content type has them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from facecloak.errors import InvalidInput

# A byte of flags, and the length (https://connectrpc.com/docs/protocol#streaming-rpcs).
_ENVELOPE = struct.Struct(">BI")
_COMPRESSED = 0b01
_END_OF_STREAM = 0b10


@dataclass(frozen=True)
class Coding:
    """One content type. ``is_json``: as protobuf's JSON mapping has it, else in protobuf's own form."""

    content_type: str
    is_json: bool
    is_stream: bool

    def bytes_limit(self, message_bytes_limit: int) -> int:
        """Largest body that may hold a message of that size: JSON has bytes in base64."""
        return message_bytes_limit * 4 // 3 + 2**16 if self.is_json else message_bytes_limit + _ENVELOPE.size

    def parser(self, message: type[Message]) -> Callable[[bytes], Message]:
        """Reads a message; raises DecodeError for what is none, as gRPC's deserializers do."""
        return _json_parser(message) if self.is_json else message.FromString

    def written(self, message: Message) -> bytes:
        """The message's bytes."""
        return json_format.MessageToJson(message, indent=None).encode() if self.is_json else message.SerializeToString()


CODINGS = {
    coding.content_type: coding
    for coding in (
        Coding("application/json", is_json=True, is_stream=False),
        Coding("application/proto", is_json=False, is_stream=False),
        Coding("application/connect+json", is_json=True, is_stream=True),
        Coding("application/connect+proto", is_json=False, is_stream=True),
    )
}
"""By content type, without its parameters."""


def _json_parser(message: type[Message]) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        if not data.lstrip().startswith(b"{"):  # the library takes an empty list for an empty message
            raise DecodeError("not an object in JSON")
        try:
            # A field that this release does not know is passed over, as in protobuf's own form.
            return json_format.Parse(data, message(), ignore_unknown_fields=True)
        except (json_format.ParseError, RecursionError, UnicodeDecodeError) as error:
            raise DecodeError("not this message in JSON") from error

    return parse


def enveloped(data: bytes, *, ends: bool = False) -> bytes:
    """One message of a stream; ``ends``: what ends it."""
    return _ENVELOPE.pack(_END_OF_STREAM if ends else 0, len(data)) + data


def unwrapped(body: bytes) -> tuple[bytes, bool]:
    """The one message of a streaming call's request, and whether it is compressed. Raises InvalidInput where it is not
    exactly one."""
    if len(body) >= _ENVELOPE.size:
        flags, length = _ENVELOPE.unpack_from(body)
        if flags in (0, _COMPRESSED) and length == len(body) - _ENVELOPE.size:
            return body[_ENVELOPE.size :], flags == _COMPRESSED
    raise InvalidInput("the request is not one message in an envelope", field="request")


def end_of_stream(error: dict[str, Any] | None) -> bytes:
    """What ends a stream."""
    return enveloped(json.dumps({} if error is None else {"error": error}).encode(), ends=True)
