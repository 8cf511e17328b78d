"""What the enrollment service does, told to the audit log.

Before a mask is stored its line is on the disk: where that fails, nothing is stored and the caller is told
(AUDIT_UNAVAILABLE), so no enrollment is without a record, and none is lost in silence. A deletion is done whatever the
log does; where it could not be noted, the call fails after it and can be repeated. Who is enrolled is told only where
it could be noted that it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from enroll_service.jobs.request import EnrollmentRequest
from enroll_service.jobs.runner import Work
from enroll_service.pipeline.progress import Progress
from facecloak.errors import FaceCloakError
from facecloak.masks.bank import StoredMask
from facecloak.stores import DeletionReceipt, MaskPage, MaskStore
from facecloak.users import User
from facecloak_rpc.audit import Audit, AuditUnavailable
from facecloak_rpc.refusals import mark_audited

_log = structlog.get_logger("enroll_service.audited")


class AuditedStore:
    """A :class:`facecloak.stores.MaskStore` whose changes are noted."""

    def __init__(self, store: MaskStore, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    def epoch(self, user: User) -> int:
        return self._store.epoch(user)

    def put(self, user: User, mask: StoredMask, *, epoch: int | None = None) -> None:
        facts = {} if mask.consent is None else {"consent": mask.consent.text_version}
        self._audit.record("enroll", outcome="STORING", user=user, mask_id=mask.mask_id, **facts)
        with refusals_noted(self._audit, "enroll", user):
            self._store.put(user, mask, epoch=epoch)
        _note(self._audit, "enroll", "STORED", user, mask_id=mask.mask_id)

    def get(self, user: User) -> StoredMask:
        return self._store.get(user)

    def delete(self, user: User) -> bool:
        return self.erase(user).found

    def erase(self, user: User) -> DeletionReceipt:
        failure: AuditUnavailable | None = None
        try:
            self._audit.record("delete", outcome="ERASING", user=user)
        except AuditUnavailable as error:
            failure = error
        with refusals_noted(self._audit, "delete", user):
            receipt = self._store.erase(user)
        if failure is not None:
            raise failure
        self._audit.record("delete", outcome="ERASED", user=user, found=receipt.found, epoch=receipt.epoch)
        return receipt

    def deleted_receipt(self, user: User) -> Mapping[str, str]:
        return self._store.deleted_receipt(user)

    def version(self, user: User) -> str | None:
        return self._store.version(user)

    def user_key(self, user: User) -> bytes:
        return self._store.user_key(user)

    def list_masks(self, tenant: str, *, limit: int, token: str = "") -> MaskPage:
        page = self._store.list_masks(tenant, limit=limit, token=token)
        self._audit.record("list", outcome="LISTED", tenant=tenant, users=len(page.masks))
        return page

    def probe(self) -> None:
        self._store.probe()

    def probe_reading(self) -> None:
        self._store.probe_reading()

    def prove_writing(self) -> None:
        self._store.prove_writing()


def audited_work(work: Work, audit: Audit) -> Work:
    """The same work; what is refused is noted."""

    def audited(
        request: EnrollmentRequest, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> StoredMask:
        with refusals_noted(audit, "enroll", request.user):
            return work(request, progress, cancelled)

    return audited


@contextmanager
def refusals_noted(audit: Audit, event: str, user: User) -> Iterator[None]:
    """Notes what the block is refused for; where that cannot be noted, the refusal stands, and the log says so."""
    try:
        yield
    except FaceCloakError as error:
        _note(audit, event, error.reason, user)
        mark_audited(error)
        raise


def _note(audit: Audit, event: str, outcome: str, user: User, **facts: str | int | bool) -> None:
    try:
        audit.record(event, outcome=outcome, user=user, **facts)
    except FaceCloakError as error:
        _log.error("audit fails", reason=error.reason, advice=error.advice)
