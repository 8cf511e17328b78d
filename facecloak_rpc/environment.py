"""Names of environment variables: which ones a settings class reads, and refusing those that nobody reads."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from facecloak.errors import InvalidInput

COMMON_PREFIX = "FACECLOAK_"
_SERVICES = ("ENROLL_", "APPLY_")
# Read by the tests alone; a test's processes inherit it.
_ELSEWHERE = frozenset({"FACECLOAK_SHARED"})


class InvalidSettings(InvalidInput):
    """A setting from the environment or the command line is unknown, out of its range, or contradicts another."""

    reason = "INVALID_SETTINGS"


def variables(settings_class: type[BaseSettings]) -> Iterator[tuple[str, FieldInfo]]:
    """Each leaf field of the settings with the environment variable that sets it."""
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    for field_name, field in settings_class.model_fields.items():
        yield from _leaves(f"{prefix}{field_name}".upper(), field)


def refuse_unknown(settings_class: type[BaseSettings], environment: Mapping[str, str] | None = None) -> None:
    """Raises InvalidSettings where a FACECLOAK_ variable is none of this service's, the other's or both services'.

    A misspelled setting would otherwise be a default that nobody wanted.
    """
    given = {name.upper() for name in (os.environ if environment is None else environment)}
    own = str(settings_class.model_config.get("env_prefix", ""))
    others = tuple(COMMON_PREFIX + service for service in _SERVICES if COMMON_PREFIX + service != own)
    known = _accepted(settings_class)
    for name in sorted(given):
        if not name.startswith(COMMON_PREFIX) or name.startswith(others) or name in known | _ELSEWHERE:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; --print-config lists all of them"
        raise InvalidSettings(f"unknown setting {name}{hint}", field=name)


def _accepted(settings_class: type[BaseSettings]) -> set[str]:
    """Every name that is read: leaves, the groups above them (as JSON), and aliases."""
    names = set()
    for name, field in variables(settings_class):
        names.add(name)
        names |= _aliases(field)
        while "__" in name:
            name = name.rpartition("__")[0]
            names.add(name)
    return names


def _aliases(field: FieldInfo) -> set[str]:
    if not isinstance(field.validation_alias, AliasChoices):
        return set()
    return {str(choice).upper() for choice in field.validation_alias.choices}


def _leaves(name: str, field: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    group = field.annotation
    if isinstance(group, type) and issubclass(group, BaseModel):
        for inner_name, inner in group.model_fields.items():
            yield from _leaves(f"{name}__{inner_name}".upper(), inner)
    else:
        yield name, field
