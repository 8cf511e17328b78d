"""The services over HTTP: the Connect protocol (https://connectrpc.com/docs/protocol), JSON or protobuf, HTTP/1.1.

The same servicers behind the same interceptor as gRPC: request ids, limits, admission, callers, rights, metrics
and errors are its. ApplyCloakStream is not here: requests and answers at once need HTTP/2, which is gRPC's.
"""

from facecloak_rpc.connect.handlers import HandlerTable
from facecloak_rpc.connect.request_handler import Gateway
from facecloak_rpc.connect.server import ConnectServer

__all__ = ["ConnectServer", "Gateway", "HandlerTable"]
