"""Whether the mask store is as the audit log says: an older mask that somebody put back is sealed as well as any, and
whoever can write the store can take a tombstone away; what the log, kept elsewhere, says they cannot change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from facecloak.masks.mask import MaskCorrupt
from facecloak.stores import envelope
from facecloak.stores.envelope import Kind
from facecloak.stores.errors import SealBroken, WrongKey
from facecloak.stores.names import TOMBSTONE_SUFFIX
from facecloak.stores.sealed import SealedMaskStore


@dataclass(frozen=True)
class Discrepancy:
    """A user whose mask is not the one that was stored last.

    Attributes:
        user: the audit log's pseudonym.
        what: "older or other mask", "mask after deletion" or "no mask".
    """

    tenant: str
    user: str
    what: str


@dataclass
class Comparison:
    """Masks that ``agree``, those that the log does not know (``unaccounted``: from before it began), ``unreadable``
    ones, and what was found."""

    agree: int = 0
    unaccounted: int = 0
    unreadable: int = 0
    findings: list[Discrepancy] = field(default_factory=list)


@dataclass
class _Known:
    """What the log knows of one object: the mask ids that it may hold, None for no mask."""

    tenant: str = ""
    user: str = ""
    allowed: set[str | None] = field(default_factory=set)
    # What was begun: at which event, what it leads to.
    open: dict[str | None, int] = field(default_factory=dict)
    # Which were done, and at which event: of two at once, either may have come last.
    done: dict[str | None, int] = field(default_factory=dict)

    def begin(self, what: str | None, number: int) -> None:
        self.open.setdefault(what, number)
        self.allowed.add(what)

    def end(self, what: str | None, number: int) -> None:
        since = self.open.pop(what, number)
        self.done[what] = number
        self.allowed = {what, *self.open, *(one for one, at in self.done.items() if at > since)}


def compare(entries: Iterable[Mapping[str, Any]], store: SealedMaskStore) -> Comparison:
    """Looks at every mask of the store. ``entries``: of the audit log, the oldest first, verified before.

    Raises:
        StoreUnavailable, WrongKey: the store cannot be read at all.
    """
    store.key_check.verify()
    known, result, seen = _known(entries), Comparison(), set()
    for name, mask_id in _masks(store, result):
        seen.add(name)
        _judge(known.get(name), mask_id, result)
    for name, one in known.items():
        # What was stored while this ran is looked at the next time.
        if name not in seen and None not in one.allowed and store.place.read(name) is None:
            result.findings.append(Discrepancy(one.tenant, one.user, "no mask"))
    return result


def _judge(known: _Known | None, mask_id: str | None, result: Comparison) -> None:
    if known is None:
        result.unaccounted += mask_id is not None
    elif mask_id in known.allowed:
        result.agree += 1
    elif mask_id is None:
        result.findings.append(Discrepancy(known.tenant, known.user, "no mask"))
    else:
        what = "mask after deletion" if known.allowed == {None} else "older or other mask"
        result.findings.append(Discrepancy(known.tenant, known.user, what))


def _masks(store: SealedMaskStore, result: Comparison) -> Iterator[tuple[str, str | None]]:
    """Each object's name and the id of its mask; None where it is refused, as a tombstone's or an erased one is."""
    for name in store.place.names():
        if name.endswith(TOMBSTONE_SUFFIX):
            continue
        sealed = store.place.read(name)
        if sealed is None:
            continue
        try:
            header = envelope.header_of(sealed)
            erased = header is not None and header.kind is Kind.ERASED
            if erased or envelope.epoch_of(sealed) <= store.buried_epoch(name):
                yield name, None
            else:
                yield name, store.mask_in(sealed, name=name).mask_id
        except (SealBroken, WrongKey, MaskCorrupt):
            result.unreadable += 1


def _known(entries: Iterable[Mapping[str, Any]]) -> dict[str, _Known]:
    """By object."""
    known: dict[str, _Known] = {}
    for number, entry in enumerate(entries):
        name, outcome = entry.get("object"), entry.get("outcome")
        if not isinstance(name, str):
            continue
        one = known.setdefault(name, _Known())
        if "user" in entry:
            one.tenant, one.user = str(entry.get("tenant", "")), str(entry["user"])
        if entry.get("event") == "enroll":
            mask_id = str(entry.get("mask_id", ""))
            if outcome == "STORING":
                one.begin(mask_id, number)
            elif outcome == "STORED":
                one.end(mask_id, number)
        elif outcome == "ERASING":
            one.begin(None, number)
        elif outcome == "ERASED":
            one.end(None, number)
    return {name: one for name, one in known.items() if one.allowed}
