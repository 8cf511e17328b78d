"""Running services as `facecloak evaluate` sees them: EnrollUser, ApplyCloak, DeleteUser, over gRPC."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from enroll_service.pipeline.intake.photo import EnrollmentPhoto
from facecloak.faces import Box
from facecloak.v1 import apply_pb2, enroll_pb2
from facecloak_client import photo as enrollment_photo
from facecloak_client import subject
from facecloak_evaluation.protocol import CloakedPhoto, EnrollmentCost
from facecloak_evaluation.surrogate_guard import RecognizerIdentity
from facecloak_rpc.boxes import box_to
from facecloak_rpc.client import open_client, remote_errors
from facecloak_rpc.connection import Connection

APPLY_SECONDS_LIMIT = 60.0

_OUTCOME_PREFIX = "CLOAK_OUTCOME_"
_RECOGNIZER_PREFIX = "recognizer."


class RemoteProtector:
    """Enrolls under random user ids and deletes them in the end.

    What the masks are learned against is known only from the first enrollment's answer, so the guard looks after it.

    Args:
        enroll_target: HOST:PORT of the enrollment service.
        apply_target: HOST:PORT of the apply service; both use one store.
        connection: how both are reached.
    """

    def __init__(self, *, enroll_target: str, apply_target: str, connection: Connection | None = None) -> None:
        self._client = open_client(enroll=enroll_target, apply=apply_target, connection=connection)
        self._users: dict[str, str] = {}
        self._surrogates: dict[str, RecognizerIdentity] = {}
        self._versions: dict[str, str] = {}
        self._lock = threading.Lock()

    def surrogates(self) -> tuple[RecognizerIdentity, ...]:
        """What the service said so far; nothing before the first enrollment."""
        return tuple(self._surrogates[name] for name in sorted(self._surrogates))

    def describe(self) -> Mapping[str, Any]:
        """The versions that the service answered with."""
        return {"path": "EnrollUser and ApplyCloak over gRPC", "versions": dict(sorted(self._versions.items()))}

    def enroll(self, user: str, photos: Sequence[EnrollmentPhoto]) -> EnrollmentCost:
        """Raises RemoteError."""
        user_id = f"evaluation-{secrets.token_hex(16)}"
        given = [enrollment_photo(one.data, face=None if one.face is None else box_to(one.face)) for one in photos]
        began = time.perf_counter()
        with self._lock:
            self._users[user] = user_id
        with remote_errors():
            enrollment = self._client.enroll(user_id, given)
            self._learn(enrollment.result())
        return EnrollmentCost(seconds=time.perf_counter() - began)

    def cloak(self, user: str, photo: bytes, box: Box) -> CloakedPhoto:
        """Raises RemoteError."""
        whose = subject(self._users[user], box=box_to(box))
        with remote_errors():
            response = self._client.apply(photo, whose, require_cloaked=False, timeout_s=APPLY_SECONDS_LIMIT)
        outcome = apply_pb2.CloakOutcome.Name(response.subjects[0].outcome)
        return CloakedPhoto(photo=response.photo, outcome=outcome.removeprefix(_OUTCOME_PREFIX))

    def close(self) -> None:
        """Deletes the masks that the measurement made, then hangs up."""
        try:
            for user_id in self._users.values():
                with remote_errors():
                    self._client.delete(user_id, timeout_s=APPLY_SECONDS_LIMIT)
        finally:
            self._client.close()

    def _learn(self, enrollment: enroll_pb2.Enrollment) -> None:
        versions = dict(enrollment.versions)
        with self._lock:
            self._versions |= versions
            for name in enrollment.surrogates:
                digest = versions.get(f"{_RECOGNIZER_PREFIX}{name}", "")
                self._surrogates[name] = RecognizerIdentity(name=name, weights_sha256="", model_sha256=digest)
