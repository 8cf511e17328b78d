"""A caller: a name for log and limits, the tenant whose users it may name, and what it may do with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from facecloak.users import DEFAULT_TENANT, User


class Right(StrEnum):
    """What a caller may do."""

    ENROLL = "enroll"
    DELETE = "delete"
    APPLY = "apply"
    """Also tells masks: who has a photo before and after has the mask."""
    READ = "read"


@dataclass(frozen=True)
class Caller:
    """Who makes a call.

    Attributes:
        name: as the operator calls it; callers of one name and tenant share their limits.
        tenant: every user that it names is one of this tenant.
        is_known: whether it has proven who it is; limits by caller are for those alone, since all others are one.
        share: of the places that callers share, the most that it may hold at once; None: the settings' own.
    """

    name: str
    tenant: str = DEFAULT_TENANT
    rights: frozenset[Right] = frozenset(Right)
    is_known: bool = True
    share: float | None = None

    @property
    def key(self) -> str:
        """What limits go by. No tenant's name holds a NUL."""
        return f"{self.tenant}\0{self.name}"

    def user(self, user_id: str) -> User:
        """The user of this id, in the caller's own tenant. Raises InvalidUserId."""
        return User(self.tenant, user_id)


ANYBODY = Caller("", is_known=False)
"""Whoever calls a service that asks nobody who they are: may everything, in the default tenant."""

_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller:
    """Who makes the call that runs in this context. Raises RuntimeError outside one: nobody is taken for anybody."""
    caller = _caller.get()
    if caller is None:
        raise RuntimeError("no call is running here")
    return caller


def caller_if_known() -> Caller | None:
    """Who makes the call that runs in this context; None where that is not told, or no call runs."""
    return _caller.get()


def set_caller(caller: Caller | None) -> None:
    """Says who makes the call of this context; None: not known yet."""
    _caller.set(caller)


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Makes the block a call of this caller's."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
