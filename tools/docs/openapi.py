"""Writes the description of the HTTP interface from the protos: `python -m tools.docs.openapi`.

OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), with the protos' comments as descriptions and protobuf's JSON
mapping as types (https://protobuf.dev/programming-guides/json). The tests hold it to the protos.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

import facecloak
from facecloak_rpc.connect.request_handler import OPENAPI

PROTOS = Path(__file__).resolve().parents[2] / "protos"
_PACKAGE = "facecloak.v1."
_Field = descriptor_pb2.FieldDescriptorProto
_NUMBERS: dict[int, dict[str, Any]] = {
    _Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    _Field.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # Beyond what JavaScript's numbers hold exactly.
    _Field.TYPE_INT64: {"type": "string", "pattern": "^-?[0-9]+$"},
    _Field.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]+$"},
    _Field.TYPE_BOOL: {"type": "boolean"},
    _Field.TYPE_STRING: {"type": "string"},
    _Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.rpc.Status": {"type": "object"},
}
_ERROR = {
    "type": "object",
    "description": "What a call failed with. Decide by `code` and by the `reason` of the detail google.rpc.ErrorInfo, "
    "which the header `facecloak-reason` says, too. Where waiting helps, `Retry-After` says how long.",
    "properties": {
        "code": {"type": "string", "description": "The gRPC status code in lower case, such as invalid_argument."},
        "message": {"type": "string", "description": "A sentence for a person; may be reworded at any time."},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "description": "Full name of the detail's message."},
                    "value": {"type": "string", "description": "The message, base64 without padding."},
                    "debug": {"type": "object", "description": "The same as JSON."},
                },
            },
        },
    },
}


def build() -> dict[str, Any]:
    """The whole document."""
    files = _descriptors()
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {}
    for file in files:
        comments = _comments(file)
        for index, enum in enumerate(file.enum_type):
            schemas[enum.name] = _enum(enum, comments, (5, index))
        for index, message in enumerate(file.message_type):
            schemas[message.name] = _message(message, comments, (4, index))
        for index, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                if not method.client_streaming:
                    operation = _operation(method, service.name, comments.get((6, index, 2, number), ""))
                    paths[f"/{_PACKAGE}{service.name}/{method.name}"] = {"post": operation}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "FaceCloak",
            "version": facecloak.__version__,
            "description": "FaceCloak's services over HTTP, by the Connect protocol. Each service answers for its own "
            "paths. Coordinates, limits and errors are explained in the protos and in docs/api.md.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "certificate": {"type": "mutualTLS"}},
        },
        # Or nobody asks: the operator decides.
        "security": [{}, {"bearer": []}, {"certificate": []}],
    }


def write() -> str:
    """The document as it is kept."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


def _descriptors() -> list[descriptor_pb2.FileDescriptorProto]:
    import grpc_tools
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "protos.binpb"
        sources = sorted(str(path) for path in (PROTOS / "facecloak").rglob("*.proto"))
        arguments = ["protoc", f"-I{PROTOS}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
        arguments += ["--include_source_info", f"--descriptor_set_out={made}", *sources]
        if protoc.main(arguments):
            raise RuntimeError("protoc failed")
        return list(descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file)


def _comments(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


def _operation(method: descriptor_pb2.MethodDescriptorProto, service: str, comment: str) -> dict[str, Any]:
    kind = "application/connect+json" if method.server_streaming else "application/json"
    note = (
        " Request and answers are in Connect's envelopes: a byte of flags, four of the length, then the JSON; the last "
        "one, of flags 2, has the `error`, if any."
    )
    return {
        "operationId": method.name,
        "tags": [service],
        "description": comment + (note if method.server_streaming else ""),
        "parameters": [
            {
                "name": "Connect-Timeout-Ms",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0, "maximum": 9_999_999_999},
                "description": "Time for the call, milliseconds; the service stops working on it then.",
            },
            {
                "name": "X-Request-Id",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                "description": "Names the call in the service's log; comes back.",
            },
        ],
        "requestBody": {"required": True, "content": {kind: {"schema": _reference(method.input_type)}}},
        "responses": {
            "200": {
                "description": "The answers." if method.server_streaming else "The answer.",
                "content": {kind: {"schema": _reference(method.output_type)}},
            },
            "default": {
                "description": "The call failed.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }


def _enum(enum: descriptor_pb2.EnumDescriptorProto, comments: Any, path: tuple[int, ...]) -> dict[str, Any]:
    lines = [comments.get(path, "")]
    lines += [f"- `{value.name}`: {comments.get((*path, 2, index), '')}" for index, value in enumerate(enum.value)]
    return {"type": "string", "enum": [value.name for value in enum.value], "description": "\n".join(lines)}


def _message(message: descriptor_pb2.DescriptorProto, comments: Any, path: tuple[int, ...]) -> dict[str, Any]:
    properties = {
        field.json_name: {**_field(field, message), "description": comments.get((*path, 2, index), "")}
        for index, field in enumerate(message.field)
    }
    return {"type": "object", "description": comments.get(path, ""), "properties": properties}


def _field(field: descriptor_pb2.FieldDescriptorProto, message: descriptor_pb2.DescriptorProto) -> dict[str, Any]:
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        return {"type": "object", "additionalProperties": _one(entry.field[1])}
    if field.label == _Field.LABEL_REPEATED:
        return {"type": "array", "items": _one(field)}
    return _one(field)


def _one(field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
    if field.type in (_Field.TYPE_MESSAGE, _Field.TYPE_ENUM):
        return dict(_WELL_KNOWN.get(field.type_name) or _reference(field.type_name))
    return dict(_NUMBERS[field.type])


def _reference(type_name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{type_name.removeprefix('.' + _PACKAGE)}"}


def references(document: Any) -> Iterator[str]:
    """Names of all schemas that a part of the document refers to."""
    yield from re.findall(r"#/components/schemas/(\w+)", json.dumps(document))


if __name__ == "__main__":
    OPENAPI.write_text(write())
