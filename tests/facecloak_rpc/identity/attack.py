"""Random calls of two tenants with the same users, each checked against what its own tenant has done so far."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import simplejpeg
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from facecloak.users import User
from facecloak.v1 import apply_pb2, enroll_pb2
from tests.facecloak_rpc.identity.hostile_fields import HostileFields
from tests.facecloak_rpc.identity.two_tenants import TENANTS, TwoTenants
from tests.tokens import bearer

FORGED_HEADERS = (
    ("x-tenant", "globex"), ("tenant", "acme"), ("x-forwarded-client-cert", "URI=spiffe://example/globex"),
    ("x-request-id", "shared"), ("x-user", "alice"),
)  # fmt: skip
MAPPED = frozenset(
    grpc.StatusCode[name] for name in (
        "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "ABORTED",
    )
)  # fmt: skip


def tiny_photo() -> bytes:
    """A gray JPEG without a face."""
    return simplejpeg.encode_jpeg(np.full((48, 48, 3), 127, np.uint8), quality=80, colorspace="RGB")


def hostile_ids(alice: str) -> tuple[str, ...]:
    """What somebody would write who wants another tenant's ``alice``."""
    return (
        "", f"\0globex\0{alice}", f"globex/{alice}", f"globex\\{alice}", f"globex:{alice}", f"../{alice}", f"{alice}\0",
        f"\0{alice}", f"{alice} ", alice.upper(), f"{alice}\u200b", f"\ufeff{alice}", f"{alice:a<257}",
        f"{alice:a<256}", f"%00{alice}", f"globex\x1f{alice}", f"😀{alice}",
    )  # fmt: skip


class Attack:
    """Random calls of random callers about users of its own, whom both tenants have. Not thread safe: others run
    beside it. The same seed makes the same calls.

    Attributes:
        ended: how many refusals there were for each reason; and, as ``OK``, how many of the random calls were answered
            as they must be, be it by a refusal that was due.
    """

    def __init__(self, both: TwoTenants, *, number: int, seed: int) -> None:
        """``number``: names the users; no two attacks at once have the same."""
        self.both = both
        self.users = tuple(f"{name}{number}" for name in ("alice", "bob", "carol"))
        self.hostile_ids = hostile_ids(self.users[0])
        self.request_ids = ("", f"shared-{number}", f"shared-{number}-2", "not allowed!", "a" * 65)
        self.random = random.Random(f"{seed} {number}")
        self.photo = tiny_photo()
        self.present: dict[User, str] = {}
        self.made: set[str] = set()
        self.ended: Counter[str] = Counter()
        texts = (*self.users, *self.hostile_ids, *self.request_ids, *TENANTS, "x" * 2000)
        self.fields = HostileFields(self.random, texts=texts, contents=(b"", b"\xff" * 50, self.photo, self.photo[:90]))

    def user_id(self) -> str:
        return self.random.choice(self.users if self.random.random() < 0.7 else self.hostile_ids)

    def request_id(self) -> str:
        return self.random.choice(self.request_ids) if self.random.random() < 0.5 else ""

    def provoke(self) -> None:
        """What every attack must meet, whatever its random calls are: each kind of refusal, for both tenants."""
        for tenant in TENANTS:
            self._provoke(tenant)

    def _provoke(self, tenant: str) -> None:
        alice, bob, _ = self.users
        photos = [enroll_pb2.EnrollmentPhoto(data=b"photo")]
        own, reader = bearer(self.both.tokens[tenant]), bearer(self.both.readers[tenant])
        unsigned, unknown = (bearer(token) for token in self.both.strangers[:2])

        def get(user_id: str, metadata: Any) -> Any:
            request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
            return self.both.enroll.GetEnrollment(request, timeout=60, metadata=metadata)

        def enroll(user_id: str, request_id: str) -> Any:
            request = enroll_pb2.EnrollUserRequest(user_id=user_id, request_id=request_id, photos=photos)
            return list(self.both.enroll.EnrollUser(request, timeout=60, metadata=own))[-1]

        def delete() -> Any:
            request = enroll_pb2.DeleteUserRequest(user_id=alice)
            return self.both.enroll.DeleteUser(request, timeout=60, metadata=reader)

        self._provoked("MASK_NOT_FOUND", lambda: get(alice, own))
        self._provoked("INVALID_USER_ID", lambda: get("", own))
        self._provoked("CREDENTIALS_MISSING", lambda: get(alice, []))
        self._provoked("CREDENTIALS_INVALID", lambda: get(alice, unsigned))
        self._provoked("CALLER_UNKNOWN", lambda: get(alice, unknown))
        mask_id = enroll(alice, f"once-{alice}").result.mask_id
        self.both.owned(mask_id, tenant)
        self.present[User(tenant, alice)] = mask_id
        self.ended["OK"] += 1
        self._provoked("REQUEST_ID_REUSED", lambda: enroll(bob, f"once-{alice}"))
        self._provoked("INVALID_INPUT", lambda: enroll(alice, "not allowed!"))
        self._provoked("RIGHT_MISSING", delete)

    def _provoked(self, reason: str, call: Callable[[], Any]) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert self.mapped(caught.value) == reason

    def call(self) -> None:
        """One random call, checked."""
        tenant = self.random.choice(TENANTS)
        metadata = bearer(self.both.tokens[tenant])
        if self.random.random() < 0.3:
            metadata.append(self.random.choice(FORGED_HEADERS))
        if self.random.random() < 0.05:
            # Two tokens, of both tenants, or one that is nobody's: refused, whichever comes first.
            other = self.both.tokens[self.random.choice(TENANTS)]
            stranger = self.random.choice(self.both.strangers)
            metadata = self.random.choice([metadata + bearer(other), bearer(stranger), []])
            self.refused(metadata)
            return
        kind = self.random.choice(
            (self.get, self.get, self.delete, self.make, self.cloak, self.cloak, self.stream, self.raw, self.any_field)
        )
        try:
            kind(tenant, metadata)
            self.ended["OK"] += 1
        except grpc.RpcError as error:
            self.mapped(error)

    def mapped(self, error: Any) -> str:
        """Every refusal is one that the services mean. Returns its reason."""
        assert error.code() in MAPPED, (error.code(), error.details())
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(error).details[0].Unpack(info)
        assert info.domain == "facecloak"
        assert not any(tenant in error.details() for tenant in TENANTS)
        self.ended[info.reason] += 1
        return info.reason

    def refused(self, metadata: Any) -> None:
        user_id = self.random.choice(self.users)
        for call in (
            lambda: self.both.enroll.DeleteUser(
                enroll_pb2.DeleteUserRequest(user_id=user_id), timeout=60, metadata=metadata
            ),
            lambda: self.both.apply.ApplyCloak(self.cloak_request(user_id), timeout=60, metadata=metadata),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert self.mapped(caught.value) in ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "CALLER_UNKNOWN")

    def get(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        if self.random.random() < 0.2:
            metadata = bearer(self.both.readers[tenant])
        try:
            request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
            answer = self.both.enroll.GetEnrollment(request, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            reason = self.mapped(error)
            assert reason in ("MASK_NOT_FOUND", "INVALID_USER_ID")
            assert reason == "INVALID_USER_ID" or User(tenant, user_id) not in self.present
            return
        self.both.owned(answer.enrollment.mask_id, tenant)
        assert self.present[User(tenant, user_id)] == answer.enrollment.mask_id

    def delete(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        if self.random.random() < 0.2:
            with pytest.raises(grpc.RpcError) as caught:
                self.both.enroll.DeleteUser(request, timeout=60, metadata=bearer(self.both.readers[tenant]))
            assert self.mapped(caught.value) == "RIGHT_MISSING"
            return
        answer = self.both.enroll.DeleteUser(request, timeout=60, metadata=metadata)
        assert answer.deleted == (self.present.pop(User(tenant, user_id), None) is not None)

    def make(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        data = self.random.choice((b"photo", b"other", b""))
        request = enroll_pb2.EnrollUserRequest(
            user_id=user_id, request_id=self.request_id(), photos=[enroll_pb2.EnrollmentPhoto(data=data)],
            options=enroll_pb2.EnrollOptions(add=self.random.random() < 0.2),
        )  # fmt: skip
        *_, last = self.both.enroll.EnrollUser(request, timeout=60, metadata=metadata)
        self.both.owned(last.result.mask_id, tenant)
        # A repeated request id is answered with what it made, which is this tenant's and may be replaced by now.
        if request.request_id == "" or last.result.mask_id not in self.made:
            self.present[User(tenant, user_id)] = last.result.mask_id
        self.made.add(last.result.mask_id)

    def cloak_request(self, user_id: str) -> apply_pb2.ApplyCloakRequest:
        return apply_pb2.ApplyCloakRequest(
            photo=self.photo, subjects=[apply_pb2.Subject(user_id=user_id)], request_id=self.request_id()
        )

    def checked(self, tenant: str, user_id: str, answer: apply_pb2.ApplyCloakResponse) -> None:
        has_mask = answer.subjects[0].outcome != apply_pb2.CLOAK_OUTCOME_NO_MASK
        assert has_mask == (User(tenant, user_id) in self.present)
        if answer.subjects[0].mask_id:
            self.both.owned(answer.subjects[0].mask_id, tenant)

    def cloak(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        answer = self.both.apply.ApplyCloak(self.cloak_request(user_id), timeout=60, metadata=metadata)
        self.checked(tenant, user_id, answer)

    def stream(self, tenant: str, metadata: Any) -> None:
        ids = [self.user_id() for _ in range(2)]
        messages = [
            apply_pb2.ApplyCloakStreamRequest(sequence=number, request=self.cloak_request(user_id))
            for number, user_id in enumerate(ids)
        ]
        answers = list(self.both.apply.ApplyCloakStream(iter(messages), timeout=60, metadata=metadata))
        assert sorted(answer.sequence for answer in answers) == [0, 1]
        for answer in answers:
            if answer.HasField("response"):
                self.checked(tenant, ids[answer.sequence], answer.response)
            else:
                assert answer.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]

    def any_field(self, tenant: str, metadata: Any) -> None:
        """Any field of any message. Whoever is enrolled by it is nobody whom the other calls ask for."""
        enroll, apply = self.both.enroll, self.both.apply
        photos = [enroll_pb2.EnrollmentPhoto(data=b"photo")]
        request: Any
        kind = self.random.choice(("enroll", "get", "delete", "apply", "apply", "stream", "find"))
        options = {"timeout": 60, "metadata": metadata}
        if kind == "enroll":
            request = enroll_pb2.EnrollUserRequest(user_id="anybody", photos=photos)
            self.fields.change(request, keep=("user_id",))
            *_, last = enroll.EnrollUser(request, **options)
            if last.HasField("result"):
                self.both.owned(last.result.mask_id, tenant)
        elif kind == "get":
            request = enroll_pb2.GetEnrollmentRequest()
            self.fields.change(request)
            self.both.owned(enroll.GetEnrollment(request, **options).enrollment.mask_id, tenant)
        elif kind == "delete":
            request = enroll_pb2.DeleteUserRequest(user_id="anybody")
            self.fields.change(request, keep=("user_id",))
            enroll.DeleteUser(request, **options)
        elif kind == "find":
            request = apply_pb2.FindFacesRequest(photo=self.photo)
            self.fields.change(request)
            apply.FindFaces(request, **options)
        else:
            request = self.cloak_request(self.user_id())
            self.fields.change(request)
            if kind == "apply":
                self.owned_by(tenant, apply.ApplyCloak(request, **options))
                return
            message = apply_pb2.ApplyCloakStreamRequest(sequence=7, request=request)
            (answer,) = apply.ApplyCloakStream(iter([message]), **options)
            assert answer.sequence == 7
            self.owned_by(tenant, answer.response)
            assert grpc.StatusCode.INTERNAL.value[0] != answer.error.code != grpc.StatusCode.UNKNOWN.value[0]

    def owned_by(self, tenant: str, answer: apply_pb2.ApplyCloakResponse) -> None:
        for subject in answer.subjects:
            has_mask = subject.outcome != apply_pb2.CLOAK_OUTCOME_NO_MASK
            known = User(tenant, subject.user_id) in self.present
            assert has_mask == known or subject.user_id == "anybody"
            if subject.mask_id:
                self.both.owned(subject.mask_id, tenant)

    def raw(self, _tenant: str, metadata: Any) -> None:
        """Bytes that are no message, to any method, and to one that there is not."""
        service, method = self.random.choice((
            ("EnrollService", "EnrollUser"), ("EnrollService", "DeleteUser"), ("ApplyService", "ApplyCloak"),
        ))  # fmt: skip
        channel = self.both.channels[service == "ApplyService"]
        call = channel.unary_stream(f"/facecloak.v1.{service}/{method}")
        list(call(b"\xff" + self.random.randbytes(40), timeout=60, metadata=metadata))
        raise AssertionError("such bytes were taken for a message")
