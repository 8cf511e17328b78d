"""Both services on one store, for two tenants that have the same users."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.pipeline.intake.selection import PhotoSelection
from enroll_service.pipeline.progress import Progress
from enroll_service.server import Domain, build_enroll_server, build_enrollments, build_jobs
from enroll_service.settings import EnrollSettings
from facecloak.masks.mask import Mask
from facecloak.v1 import apply_pb2_grpc, enroll_pb2_grpc
from facecloak_rpc.caller_limits import CallerLimitSettings
from facecloak_rpc.client import open_channel
from facecloak_rpc.identity import IdentitySettings
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.tokens import AUDIENCE, ISSUER, Issuer

TENANTS = ("acme", "globex")
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


class TwoTenants:
    """Both services, their stubs, what every caller shows, and whose each mask is."""

    def __init__(self, folder: Path, model_repository: Path) -> None:
        callers = folder / "callers.toml"
        callers.write_text(CALLERS)
        issuer = Issuer("EdDSA")
        jwks = issuer.write_jwks(folder / "jwks.json")
        identity = IdentitySettings(callers=callers, jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE)
        # On a busy machine, too, no call is refused for being one of many at once.
        no_rates = CallerLimitSettings(calls_per_second=0, user_calls_per_minute=0, caller_share=1, tenant_share=1)
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
            in_flight_limit=64,
            concurrent_calls_limit=256,
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
        self.owners: dict[str, str] = {}

    def owned(self, mask_id: str, tenant: str) -> None:
        """Remembers whose a mask is, and that it is nobody else's."""
        assert self.owners.setdefault(mask_id, tenant) == tenant, "a mask of another tenant's"

    def close(self) -> None:
        """Ends the servers."""
        for channel in self.channels:
            channel.close()
        for server in self.servers:
            server.stop(grace_seconds=0)
