"""Puts the apply service together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from apply_service.c2pa_signer import open_signer
from apply_service.cache import MaskCache
from apply_service.in_flight_limit import InFlightLimit
from apply_service.metrics import ApplyMetrics
from apply_service.photo_admission import PhotoAdmission
from apply_service.servicer import SERVICE_NAME, ApplyServicer
from apply_service.settings import ApplySettings
from apply_service.upload_ticket import UploadTickets
from facecloak.cloaking.cloaker import Cloaker
from facecloak.faces import FaceFinder
from facecloak.stores import CircuitStore, StoreUnavailable
from facecloak.v1 import apply_pb2_grpc
from facecloak_rpc.audit import Audit, open_audit
from facecloak_rpc.caller_limits import SharedPlaces
from facecloak_rpc.decoders import open_decoders
from facecloak_rpc.readiness import Degraded
from facecloak_rpc.refusals import Refusals
from facecloak_rpc.server import KnownCallers, RpcServer, build_server
from facecloak_rpc.storage import open_configured_store
from facecloak_rpc.telemetry import ObservedStore, Telemetry, open_tracer


@dataclass(frozen=True)
class ApplyDomain:
    """What the service is made of, without gRPC: the command line uses it in process."""

    cloaker: Cloaker
    finder: FaceFinder
    masks: MaskCache
    telemetry: Telemetry
    audit: Audit

    def probe(self) -> None:
        """Raises unless store and face finder answer; the first time it warms the finder up.

        Raises:
            Degraded: the store is away, and users whose masks are remembered are cloaked still.
        """
        self.finder.find(np.full((64, 64, 3), 127, np.uint8))
        try:
            self.masks.probe()
        except StoreUnavailable as error:
            if not self.masks.can_serve():
                raise
            raise Degraded.because(error) from error


def build_domain(settings: ApplySettings) -> ApplyDomain:
    """Opens store and face finder. Raises FaceCloakError where a model or the key is missing."""
    telemetry = Telemetry(tracer=open_tracer(settings, service=SERVICE_NAME))
    # Only reads: an empty place is a wrong one.
    opened = open_configured_store(settings.store, begins=False)
    store = ObservedStore(opened, telemetry)
    masks = MaskCache(
        # What is measured are calls that were made, not those that the circuit refused.
        CircuitStore(store),
        bytes_limit=settings.cache_mebibytes * 2**20,
        ttl_seconds=settings.cache_ttl_seconds,
        negative_ttl_seconds=settings.cache_negative_ttl_seconds,
        stale_seconds=settings.cache_stale_seconds,
        registry=telemetry.registry,
        # Who waits for the store holds a photo's place: those whose masks are remembered must find one still.
        loads_limit=max(2, min(settings.in_flight_limit, 64)),
    )
    finder = FaceFinder.load(settings.model_repository, threads=settings.threads)
    cloaker = Cloaker(
        finder,
        masks,
        limits=settings.photo_limits,
        tag=settings.mark_photos,
        user_key=store.user_key,
        observer=telemetry.stage,
        signer=open_signer(settings.c2pa),
    )
    audit = open_audit(settings.audit, opened.names)
    return ApplyDomain(cloaker=cloaker, finder=finder, masks=masks, telemetry=telemetry, audit=audit)


def build_apply_server(settings: ApplySettings, *, share_port: bool = False) -> RpcServer:
    """Builds the server, bound to its port; ``share_port`` lets other processes listen there too."""
    domain = build_domain(settings)
    executor = ThreadPoolExecutor(max_workers=settings.in_flight_limit, thread_name_prefix="stream")
    callers = KnownCallers.of(settings)
    refusals = Refusals(domain.audit)
    photos = PhotoAdmission(
        places=settings.in_flight_limit,
        memory_bytes=settings.memory_mebibytes * 2**20,
        wait_seconds=settings.admission_seconds,
        limits=settings.photo_limits,
        shares=SharedPlaces(settings.in_flight_limit, callers.limits, what="photos"),
    )
    servicer = ApplyServicer(
        domain.cloaker,
        photos=photos,
        streams=InFlightLimit(settings.streams_limit, what="streams"),
        stream_seconds=(settings.message_seconds, settings.stream_idle_seconds),
        stream_depth=settings.stream_depth,
        executor=executor,
        metrics=ApplyMetrics(domain.telemetry.registry),
        limits=callers.limits,
        tickets=UploadTickets(settings.ticket),
        refusals=refusals,
    )

    end_decoders = open_decoders(settings, size=settings.in_flight_limit)

    def close() -> None:
        end_decoders()
        executor.shutdown(wait=False, cancel_futures=True)
        domain.masks.close()
        photos.close()
        refusals.close()
        domain.audit.close()

    return build_server(
        settings=settings,
        service=SERVICE_NAME,
        add_servicer=lambda server: apply_pb2_grpc.add_ApplyServiceServicer_to_server(servicer, server),
        probe=domain.probe,
        telemetry=domain.telemetry,
        begin_drain=servicer.begin_drain,
        close=close,
        admission=photos,
        callers=callers,
        refusals=refusals,
        # No call needs more, and each that comes in may take as much.
        message_bytes_limit=settings.largest_message_bytes,
        share_port=share_port,
    )
