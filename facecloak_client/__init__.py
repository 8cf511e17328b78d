"""A client of the FaceCloak services: grpcio and the messages, nothing else.

    from facecloak_client import FaceCloakClient

    with FaceCloakClient(enroll="enroll.svc:50061", apply="apply.svc:50062") as client:
        client.enroll("user-4711", portrait).result()
        cloaked = client.apply(upload, "user-4711").photo

The messages are those of package ``facecloak.v1``; what they mean is in protos/facecloak/v1.
"""

from facecloak_client import errors
from facecloak_client.async_client import AsyncFaceCloakClient
from facecloak_client.channels import Connection, Tls, Token
from facecloak_client.client import FaceCloakClient
from facecloak_client.enrollment import AsyncEnrollment, Enrollment
from facecloak_client.errors import CallFailed, NotCloaked
from facecloak_client.feed import StreamAnswer
from facecloak_client.requests import apply_request, consent, photo, subject
from facecloak_client.service_config import Retries

__version__ = "0.1.0"

__all__ = [
    "AsyncEnrollment",
    "AsyncFaceCloakClient",
    "CallFailed",
    "Connection",
    "Enrollment",
    "FaceCloakClient",
    "NotCloaked",
    "Retries",
    "StreamAnswer",
    "Tls",
    "Token",
    "__version__",
    "apply_request",
    "consent",
    "errors",
    "photo",
    "subject",
]
