"""Two tenants with the same users: 10,000 hostile calls on real servers, and nothing of one ever reaches the other."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.intake.selection import PhotoSelection
from enroll_service.pipeline.progress import Progress
from enroll_service.server import Domain, build_enroll_server, build_enrollments, build_jobs
from enroll_service.settings import EnrollSettings
from facecloak.masks.mask import Mask
from facecloak.users import User
from facecloak.v1 import apply_pb2, apply_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from facecloak_rpc.caller_limits import CallerLimitSettings
from facecloak_rpc.client import open_channel
from facecloak_rpc.identity import IdentitySettings
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.facecloak_rpc.identity.hostile_fields import HostileFields
from tests.tokens import AUDIENCE, ISSUER, Issuer, bearer

pytestmark = pytest.mark.slow

CALLS = 10_000
TENANTS = ("acme", "globex")
USERS = ("alice", "bob", "carol")
CALLERS = """
[[caller]]
name = "all"
claims = {sub = "all"}
tenant_claim = "org"
rights = ["enroll", "delete", "apply", "read"]

[[caller]]
name = "reader"
claims = {sub = "reader"}
tenant_claim = "org"
rights = ["read"]
"""
# What somebody would write who wants another tenant's user.
HOSTILE_IDS = (
    "", "\0globex\0alice", "globex/alice", "globex\\alice", "globex:alice", "../alice", "alice\0", "\0alice", "alice ",
    "ALICE", "alice\u200b", "\ufeffalice", "a" * 257, "a" * 256, "%00alice", "globex\x1falice", "😀",
)  # fmt: skip
FORGED_HEADERS = (
    ("x-tenant", "globex"), ("tenant", "acme"), ("x-forwarded-client-cert", "URI=spiffe://example/globex"),
    ("x-request-id", "shared"), ("x-user", "alice"),
)  # fmt: skip
REQUEST_IDS = ("", "shared", "shared-2", "not allowed!", "a" * 65)
MAPPED = frozenset(
    grpc.StatusCode[name] for name in (
        "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "ABORTED",
    )
)  # fmt: skip


class Instant:
    """Learns a mask at once."""

    def learn(self, request: EnrollmentRequest, _progress: Callable[[Progress], None], _cancelled: Any) -> Mask:
        seed = uuid.uuid4().int % 2**32
        pixels = np.random.default_rng(seed).integers(-8, 9, (112, 112, 3)).astype(np.int8)
        return Mask.new(pixels, seed=seed, versions={}, report={"photo_count": len(request.photos)})

    def check(self, request: EnrollmentRequest, _cancelled: Any) -> PhotoSelection:
        """Any photo will do."""
        return PhotoSelection(())

    def probe(self) -> None:
        """Is well."""

    def close(self) -> None:
        """Holds nothing."""


class Pair:
    """Both services on one store, what each tenant has there by its own doing, and whose each mask is."""

    def __init__(self, folder: Path, model_repository: Path) -> None:
        callers = folder / "callers.toml"
        callers.write_text(CALLERS)
        issuer = Issuer("EdDSA")
        jwks = issuer.write_jwks(folder / "jwks.json")
        identity = IdentitySettings(callers=callers, jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE)
        no_rates = CallerLimitSettings(calls_per_second=0, user_calls_per_minute=0)
        common: dict[str, Any] = {
            "port": 0, "identity": identity, "caller_limits": no_rates, "store": StoreSettings(data=folder / "data"),
        }  # fmt: skip
        enroll = EnrollSettings(**common)
        self.store = open_configured_store(enroll.store)
        instant = Instant()
        jobs = build_jobs(enroll, work=instant.learn, store=self.store)
        enrollments = build_enrollments(enroll, jobs=jobs, check=instant.check, store=self.store)
        domain = Domain(enrollments=enrollments, jobs=jobs, enroller=instant)  # type: ignore[arg-type]
        apply = ApplySettings(
            **common,
            model_repository=model_repository,
            cache_ttl_seconds=0,
            cache_negative_ttl_seconds=0,
            cache_stale_seconds=0,  # on a busy machine, too, what was deleted is not used once more
        )
        self.servers = [build_enroll_server(enroll, domain=domain), build_apply_server(apply)]
        for server in self.servers:
            server.start()
            assert server.readiness.wait_ready(60)
        self.channels = [open_channel(server.target) for server in self.servers]
        self.enroll = enroll_pb2_grpc.EnrollServiceStub(self.channels[0])
        self.apply = apply_pb2_grpc.ApplyServiceStub(self.channels[1])
        self.tokens = {tenant: issuer.token("all", org=tenant, exp=4_000_000_000) for tenant in TENANTS}
        self.readers = {tenant: issuer.token("reader", org=tenant, exp=4_000_000_000) for tenant in TENANTS}
        self.strangers = (
            Issuer("EdDSA").token("all", org="acme"),
            issuer.token("all"),
            issuer.token("all", org=""),
            "",
        )
        self.present: dict[User, str] = {}
        self.owners: dict[str, str] = {}
        self.ended: Counter[str] = Counter()

    def owned(self, mask_id: str, tenant: str) -> None:
        assert self.owners.setdefault(mask_id, tenant) == tenant, "a mask of another tenant's"

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        for server in self.servers:
            server.stop(grace_seconds=0)


@pytest.fixture
def pair(tmp_path: Path, model_repository: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, model_repository)
    yield made
    made.close()


def tiny_photo() -> bytes:
    import simplejpeg

    return simplejpeg.encode_jpeg(np.full((48, 48, 3), 127, np.uint8), quality=80, colorspace="RGB")


class Attack:
    """Random calls of random callers, each checked against what its own tenant has done so far."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.random = random.Random(seed)
        self.photo = tiny_photo()
        texts = (*USERS, *HOSTILE_IDS, *REQUEST_IDS, *TENANTS, "x" * 2000)
        self.fields = HostileFields(self.random, texts=texts, contents=(b"", b"\xff" * 50, self.photo, self.photo[:90]))

    def user_id(self) -> str:
        return self.random.choice(USERS if self.random.random() < 0.7 else HOSTILE_IDS)

    def request_id(self) -> str:
        return self.random.choice(REQUEST_IDS) if self.random.random() < 0.5 else ""

    def call(self) -> None:
        tenant = self.random.choice(TENANTS)
        metadata = bearer(self.pair.tokens[tenant])
        if self.random.random() < 0.3:
            metadata.append(self.random.choice(FORGED_HEADERS))
        if self.random.random() < 0.05:
            # Two tokens, of both tenants, or one that is nobody's: refused, whichever comes first.
            other = self.pair.tokens[self.random.choice(TENANTS)]
            stranger = self.random.choice(self.pair.strangers)
            metadata = self.random.choice([metadata + bearer(other), bearer(stranger), []])
            self.refused(metadata)
            return
        kind = self.random.choice(
            (self.get, self.get, self.delete, self.make, self.cloak, self.cloak, self.stream, self.raw, self.any_field)
        )
        try:
            kind(tenant, metadata)
            self.pair.ended["OK"] += 1
        except grpc.RpcError as error:
            self.mapped(error)

    def mapped(self, error: Any) -> str:
        """Every refusal is one that the services mean. Returns its reason."""
        assert error.code() in MAPPED, (error.code(), error.details())
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(error).details[0].Unpack(info)
        assert info.domain == "facecloak"
        assert not any(tenant in error.details() for tenant in TENANTS)
        self.pair.ended[info.reason] += 1
        return info.reason

    def refused(self, metadata: Any) -> None:
        user_id = self.random.choice(USERS)
        for call in (
            lambda: self.pair.enroll.DeleteUser(
                enroll_pb2.DeleteUserRequest(user_id=user_id), timeout=60, metadata=metadata
            ),
            lambda: self.pair.apply.ApplyCloak(self.cloak_request(user_id), timeout=60, metadata=metadata),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert self.mapped(caught.value) in ("CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "CALLER_UNKNOWN")

    def get(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        if self.random.random() < 0.2:
            metadata = bearer(self.pair.readers[tenant])
        try:
            request = enroll_pb2.GetEnrollmentRequest(user_id=user_id)
            answer = self.pair.enroll.GetEnrollment(request, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            reason = self.mapped(error)
            assert reason in ("MASK_NOT_FOUND", "INVALID_USER_ID")
            assert reason == "INVALID_USER_ID" or User(tenant, user_id) not in self.pair.present
            return
        self.pair.owned(answer.enrollment.mask_id, tenant)
        assert self.pair.present[User(tenant, user_id)] == answer.enrollment.mask_id

    def delete(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        request = enroll_pb2.DeleteUserRequest(user_id=user_id)
        if self.random.random() < 0.2:
            with pytest.raises(grpc.RpcError) as caught:
                self.pair.enroll.DeleteUser(request, timeout=60, metadata=bearer(self.pair.readers[tenant]))
            assert self.mapped(caught.value) == "RIGHT_MISSING"
            return
        answer = self.pair.enroll.DeleteUser(request, timeout=60, metadata=metadata)
        assert answer.deleted == (self.pair.present.pop(User(tenant, user_id), None) is not None)

    def make(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        data = self.random.choice((b"photo", b"other", b""))
        request = enroll_pb2.EnrollUserRequest(
            user_id=user_id, request_id=self.request_id(), photos=[enroll_pb2.EnrollmentPhoto(data=data)],
            options=enroll_pb2.EnrollOptions(add=self.random.random() < 0.2),
        )  # fmt: skip
        *_, last = self.pair.enroll.EnrollUser(request, timeout=60, metadata=metadata)
        self.pair.owned(last.result.mask_id, tenant)
        # A repeated request id is answered with what it made, which is this tenant's and may be replaced by now.
        if request.request_id == "" or last.result.mask_id not in self.pair.ended:
            self.pair.present[User(tenant, user_id)] = last.result.mask_id
        self.pair.ended[last.result.mask_id] += 1

    def cloak_request(self, user_id: str) -> apply_pb2.ApplyCloakRequest:
        return apply_pb2.ApplyCloakRequest(
            photo=self.photo, subjects=[apply_pb2.Subject(user_id=user_id)], request_id=self.request_id()
        )

    def checked(self, tenant: str, user_id: str, answer: apply_pb2.ApplyCloakResponse) -> None:
        has_mask = answer.subjects[0].outcome != apply_pb2.CLOAK_OUTCOME_NO_MASK
        assert has_mask == (User(tenant, user_id) in self.pair.present)
        if answer.subjects[0].mask_id:
            self.pair.owned(answer.subjects[0].mask_id, tenant)

    def cloak(self, tenant: str, metadata: Any) -> None:
        user_id = self.user_id()
        answer = self.pair.apply.ApplyCloak(self.cloak_request(user_id), timeout=60, metadata=metadata)
        self.checked(tenant, user_id, answer)

    def stream(self, tenant: str, metadata: Any) -> None:
        ids = [self.user_id() for _ in range(2)]
        messages = [
            apply_pb2.ApplyCloakStreamRequest(sequence=number, request=self.cloak_request(user_id))
            for number, user_id in enumerate(ids)
        ]
        answers = list(self.pair.apply.ApplyCloakStream(iter(messages), timeout=60, metadata=metadata))
        assert sorted(answer.sequence for answer in answers) == [0, 1]
        for answer in answers:
            if answer.HasField("response"):
                self.checked(tenant, ids[answer.sequence], answer.response)
            else:
                assert answer.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]

    def any_field(self, tenant: str, metadata: Any) -> None:
        """Any field of any message. Whoever is enrolled by it is nobody whom the other calls ask for."""
        enroll, apply = self.pair.enroll, self.pair.apply
        photos = [enroll_pb2.EnrollmentPhoto(data=b"photo")]
        request: Any
        kind = self.random.choice(("enroll", "get", "delete", "apply", "apply", "stream", "find"))
        options = {"timeout": 60, "metadata": metadata}
        if kind == "enroll":
            request = enroll_pb2.EnrollUserRequest(user_id="anybody", photos=photos)
            self.fields.change(request, keep=("user_id",))
            *_, last = enroll.EnrollUser(request, **options)
            if last.HasField("result"):
                self.pair.owned(last.result.mask_id, tenant)
        elif kind == "get":
            request = enroll_pb2.GetEnrollmentRequest()
            self.fields.change(request)
            self.pair.owned(enroll.GetEnrollment(request, **options).enrollment.mask_id, tenant)
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
            known = User(tenant, subject.user_id) in self.pair.present
            assert has_mask == known or subject.user_id == "anybody"
            if subject.mask_id:
                self.pair.owned(subject.mask_id, tenant)

    def raw(self, _tenant: str, metadata: Any) -> None:
        """Bytes that are no message, to any method, and to one that there is not."""
        service, method = self.random.choice((
            ("EnrollService", "EnrollUser"), ("EnrollService", "DeleteUser"), ("ApplyService", "ApplyCloak"),
        ))  # fmt: skip
        channel = self.pair.channels[service == "ApplyService"]
        call = channel.unary_stream(f"/facecloak.v1.{service}/{method}")
        list(call(b"\xff" + self.random.randbytes(40), timeout=60, metadata=metadata))
        raise AssertionError("such bytes were taken for a message")


def test_no_call_reaches_another_tenants_users(pair: Pair) -> None:
    attack = Attack(pair, seed=17)
    for _ in range(CALLS):
        attack.call()
    for tenant in TENANTS:
        for user_id in USERS:
            user = User(tenant, user_id)
            assert (pair.store.version(user) is not None) == (user in pair.present), user_id
    ended = {name: count for name, count in pair.ended.items() if name not in pair.owners}
    assert ended["OK"] > CALLS / 4
    assert {
        "INVALID_USER_ID", "INVALID_INPUT", "MASK_NOT_FOUND", "CREDENTIALS_MISSING", "CREDENTIALS_INVALID",
        "CALLER_UNKNOWN", "RIGHT_MISSING", "REQUEST_ID_REUSED",
    } <= set(ended)  # fmt: skip
