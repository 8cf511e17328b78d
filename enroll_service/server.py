"""Puts the enrollment service together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from enroll_service.audited import AuditedStore, audited_work
from enroll_service.enrollments import Enrollments
from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.jobs.runner import EnrollmentJobs, Work
from enroll_service.metrics import EnrollMetrics, watch_queue
from enroll_service.pipeline.enroller import Enroller
from enroll_service.pipeline.intake.selection import PhotoSelection
from enroll_service.pipeline.progress import Progress
from enroll_service.servicer import SERVICE_NAME, EnrollServicer
from enroll_service.settings import EnrollSettings
from enroll_service.validation import CheckPhotos, PhotoChecks
from facecloak.faces import FaceFinder
from facecloak.masks.bank import StoredMask
from facecloak.recognizers.onnx_runtime import OnnxRuntime
from facecloak.recognizers.runtime import RecognizerRuntime
from facecloak.stores import MaskStore
from facecloak.v1 import enroll_pb2_grpc
from facecloak_rpc.audit import Audit, open_audit
from facecloak_rpc.decoders import open_decoders
from facecloak_rpc.server import KnownCallers, RpcServer, build_server
from facecloak_rpc.storage import open_configured_store
from facecloak_rpc.telemetry import ObservedRuntime, ObservedStore, Telemetry, open_tracer


@dataclass(frozen=True)
class Domain:
    """What the service is made of, without gRPC: the command line uses it in process."""

    enrollments: Enrollments
    jobs: EnrollmentJobs
    enroller: Enroller
    telemetry: Telemetry = field(default_factory=Telemetry)

    def probe(self) -> None:
        """Raises unless store and recognizers answer."""
        self.enrollments.probe()
        self.enroller.probe()

    def close(self) -> None:
        """Cancels what runs and frees everything."""
        self.enrollments.close()
        self.enroller.close()


def build_domain(settings: EnrollSettings) -> Domain:
    """Opens store, face finder and recognizers. Raises FaceCloakError where one is missing or cannot be used."""
    telemetry = Telemetry(tracer=open_tracer(settings, service=SERVICE_NAME))
    opened = open_configured_store(settings.store)
    audit = open_audit(settings.audit, opened.names)
    store = AuditedStore(ObservedStore(opened, telemetry), audit)
    enroller = Enroller(
        runtime=ObservedRuntime(
            open_runtime(settings), telemetry, name="triton" if settings.triton.url else "onnxruntime"
        ),
        finder=FaceFinder.load(settings.model_repository),
        settings=settings.pipeline(),
        observer=telemetry.stage,
    )
    jobs = build_jobs(
        settings, work=audited_work(work_of(enroller), audit), store=store, metrics=EnrollMetrics(telemetry.registry)
    )
    enrollments = build_enrollments(settings, jobs=jobs, check=check_of(enroller), store=store, audit=audit)
    return Domain(enrollments=enrollments, jobs=jobs, enroller=enroller, telemetry=telemetry)


def work_of(enroller: Enroller) -> Work:
    """An enroller as the queue's work."""

    def work(
        request: EnrollmentRequest, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> StoredMask:
        return enroller.run(
            request.photos,
            progress=progress,
            cancelled=cancelled,
            seed=request.seed,
            strength=request.strength,
            kind=request.kind,
            earlier=request.earlier,
            leave_out_unfit=request.leave_out_unfit,
        )

    return work


def check_of(enroller: Enroller) -> CheckPhotos:
    """An enroller as what looks at photos."""

    def check(request: EnrollmentRequest, cancelled: Callable[[], bool]) -> PhotoSelection:
        return enroller.check(
            request.photos, cancelled=cancelled, earlier=request.earlier, leave_out_unfit=request.leave_out_unfit
        )

    return check


def open_runtime(settings: EnrollSettings) -> RecognizerRuntime:
    """Where the settings want the recognizers to run. A Triton is not contacted yet.

    Raises:
        RecognizerUnknown: a surrogate is not in the model repository.
        InvalidTritonUrl: Triton's address cannot be used.
    """
    names = settings.recognizers
    if not settings.triton.url:
        return OnnxRuntime(settings.model_repository, names=names, threads=settings.threads)
    from facecloak.recognizers.triton.connection import TritonConnection
    from facecloak.recognizers.triton.runtime import TritonRuntime  # the extra `triton`: only where it is wanted

    connection = TritonConnection(**settings.triton.model_dump())
    return TritonRuntime(settings.model_repository, connection=connection, names=names)


def build_jobs(
    settings: EnrollSettings, *, work: Work, store: MaskStore, metrics: EnrollMetrics | None = None
) -> EnrollmentJobs:
    """The queue as the settings want it."""
    return EnrollmentJobs(
        work=work,
        masks=store,
        workers=settings.workers,
        queue_limit=settings.queue_limit,
        user_queue_limit=settings.user_queue_limit,
        seconds_limit=settings.enrollment_seconds_limit,
        results_limit=settings.results_limit,
        results_ttl_seconds=settings.results_ttl_seconds,
        metrics=metrics,
        # Of their own: shares ask who there is, and only the server counts calls.
        limits=KnownCallers.of(settings).limits,
    )


def build_enrollments(
    settings: EnrollSettings,
    *,
    jobs: EnrollmentJobs,
    check: CheckPhotos,
    store: MaskStore,
    audit: Audit | None = None,
) -> Enrollments:
    """The facade as the settings want it; ``check`` looks at photos that are only to be validated."""
    return Enrollments(
        jobs=jobs,
        checks=PhotoChecks(check, places=settings.workers),
        store=store,
        photo_bytes_limit=settings.photos_mebibytes_limit * 2**20,
        photo_pixels_limit=round(settings.photos_megapixels_limit * 10**6),
        photo_limits=settings.intake.photo_limits,
        consent_required=settings.consent_required,
        audit=audit,
    )


def build_enroll_server(settings: EnrollSettings, *, domain: Domain | None = None) -> RpcServer:
    """Builds the server, bound to its port; it owns ``domain``, by default what :func:`build_domain` gives."""
    domain = domain or build_domain(settings)
    jobs = domain.jobs
    watch_queue(domain.telemetry.registry, waiting=lambda: jobs.waiting, running=lambda: jobs.running)
    servicer = EnrollServicer(domain.enrollments)
    end_decoders = open_decoders(settings, size=settings.workers)

    def close() -> None:
        end_decoders()
        domain.close()

    return build_server(
        settings=settings,
        service=SERVICE_NAME,
        add_servicer=lambda server: enroll_pb2_grpc.add_EnrollServiceServicer_to_server(servicer, server),
        probe=domain.probe,
        telemetry=domain.telemetry,
        close=close,
        refusals=domain.enrollments.refusals,
    )


def serve(settings: EnrollSettings) -> int:
    """Serves until SIGTERM; returns the exit status."""
    return build_enroll_server(settings).run_until_signal()
