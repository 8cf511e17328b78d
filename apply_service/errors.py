"""What the apply service refuses beside what its domain does."""

from __future__ import annotations

from google.protobuf.message import Message

from facecloak.cloaking.cloaker import PhotoNotCloaked


class NotCloaked(PhotoNotCloaked):
    """``require_cloaked`` was set, and a subject is not cloaked. ``details`` go into the status beside the reason."""

    def __init__(self, error: PhotoNotCloaked, *, details: tuple[Message, ...]) -> None:
        super().__init__(error.public_message, result=error.result)
        self.details = details
