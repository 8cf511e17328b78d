"""What the apply service refuses beside what its domain does."""

from __future__ import annotations

from google.protobuf.message import Message

from facecloak.errors import ErrorCode, FaceCloakError


class NotCloaked(FaceCloakError):
    """``require_cloaked`` was set, and a subject is not cloaked. ``details`` go into the status beside the reason."""

    code = ErrorCode.FAILED_PRECONDITION
    reason = "NOT_CLOAKED"

    def __init__(self, public_message: str, /, *, details: tuple[Message, ...], **metadata: object) -> None:
        super().__init__(public_message, **metadata)
        self.details = details
