"""What `facecloak doctor` looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from facecloak.errors import FaceCloakError


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    """It works, and not as well as it could."""
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """What a check found, in one sentence, and what to do about it ("" where nothing is to be done)."""

    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: what is looked at, such as "enroll store".
        look: does it; takes bounded time and leaves nothing behind. What it raises is a failure.
        advice: what to do about a failure that gives no advice itself; for a person, in one sentence.
    """

    name: str
    look: Callable[[], Finding | str]
    advice: str

    def run(self) -> Finding:
        """The finding; never raises for what the check met."""
        try:
            found = self.look()
        except FaceCloakError as error:
            fault = error.metadata.get("fault", "")
            names = f"{error.reason}: {fault}" if fault else error.reason
            return Finding(Verdict.FAILED, f"{error.public_message} ({names})", error.advice or self.advice)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the machine, the other checks go on
            return Finding(Verdict.FAILED, f"{type(error).__name__}: {error}", self.advice)
        return found if isinstance(found, Finding) else Finding(Verdict.OK, found)
