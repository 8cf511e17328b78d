"""Settings: each is explained, none is unknown, none contradicts another, and what is printed can be read back."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import BaseModel

from apply_service.settings import ApplySettings
from enroll_service.settings import EnrollSettings
from facecloak_rpc.command import load_settings
from facecloak_rpc.environment import InvalidSettings, refuse_unknown, variables
from facecloak_rpc.settings import describe

BOTH = pytest.mark.parametrize("settings_class", [EnrollSettings, ApplySettings])


@BOTH
def test_every_setting_is_explained(settings_class: type[Any]) -> None:
    found = dict(variables(settings_class))
    assert len(found) >= 35
    unexplained = [name for name, field in found.items() if len(field.description or "") < 20]
    assert not unexplained


@BOTH
def test_a_misspelled_variable_is_refused(settings_class: type[Any]) -> None:
    prefix = settings_class.model_config["env_prefix"]
    with pytest.raises(InvalidSettings, match=f"unknown setting {prefix}PROT; did you mean {prefix}PORT"):
        refuse_unknown(settings_class, {f"{prefix}PROT": "1"})
    with pytest.raises(InvalidSettings, match="FACECLOAK_SOMETHING"):
        refuse_unknown(settings_class, {"FACECLOAK_SOMETHING": "1"})


def test_known_variables_are_accepted() -> None:
    known = {
        "FACECLOAK_ENROLL_INTAKE__MIN_SHARPNESS": "3", "FACECLOAK_ENROLL_INTAKE": "{}", "PATH": "/bin",
        "FACECLOAK_MODEL_REPOSITORY": "m", "FACECLOAK_APPLY_ANYTHING": "other", "facecloak_enroll_port": "1",
    }  # fmt: skip
    refuse_unknown(EnrollSettings, known)


def test_an_unknown_nested_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_ENROLL_INTAKE", '{"min_sharpnes": 3}')
    with pytest.raises(InvalidSettings, match="min_sharpnes"):
        load_settings(EnrollSettings)
    monkeypatch.delenv("FACECLOAK_ENROLL_INTAKE")
    monkeypatch.setenv("FACECLOAK_ENROLL_INTAKE__MIN_SHARPNES", "3")
    with pytest.raises(InvalidSettings, match="did you mean FACECLOAK_ENROLL_INTAKE__MIN_SHARPNESS"):
        load_settings(EnrollSettings)


@pytest.mark.parametrize(
    ("settings_class", "environment", "told"),
    [
        (ApplySettings, {"PORT": "7000", "METRICS_PORT": "7000"}, "must differ"),
        (ApplySettings, {"PHOTO_MEBIBYTES_LIMIT": "64"}, "below message_mebibytes_limit"),
        (ApplySettings, {"STREAMS_LIMIT": "128"}, "concurrent_calls_limit"),
        (ApplySettings, {"CACHE_STALE_SECONDS": "1"}, "cache_ttl_seconds"),
        (EnrollSettings, {"PHOTOS_MEBIBYTES_LIMIT": "64"}, "below message_mebibytes_limit"),
        (EnrollSettings, {"QUEUE_LIMIT": "128"}, "concurrent_calls_limit"),
        (EnrollSettings, {"STORE__KEY": "a", "STORE__KEY_FILE": "/k"}, "not both"),
        (EnrollSettings, {"STORE__URL": "s3://bucket/x"}, "s3_endpoint"),
        (EnrollSettings, {"STORE__S3_ENDPOINT": "host"}, "s3://"),
        (
            EnrollSettings,
            {"STORE__URL": "s3://bucket/x", "STORE__S3_ENDPOINT": "host", "STORE__S3_ACCESS_KEY": "a"},
            "belong together",
        ),
    ],
)
def test_contradictions_are_one_clear_line(
    settings_class: type[Any], environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"{settings_class.model_config['env_prefix']}{name}", value)
    with pytest.raises(InvalidSettings, match=told) as refused:
        load_settings(settings_class)
    assert "\n" not in refused.value.public_message
    assert "Value error" not in refused.value.public_message


@BOTH
def test_what_is_printed_can_be_read_back(settings_class: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_class(port=7, log_level="debug")
    for line in describe(settings).splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            monkeypatch.setenv(name, value)
    assert load_settings(settings_class) == settings


def test_a_variable_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_APPLY_STORE__KEY_FILE", "")
    monkeypatch.setenv("FACECLOAK_APPLY_PORT", "")
    settings = load_settings(ApplySettings)
    assert (settings.store.key_file, settings.port) == (None, 50062)


@BOTH
def test_groups_refuse_what_they_do_not_know(settings_class: type[Any]) -> None:
    def groups(model: type[BaseModel]) -> list[type[BaseModel]]:
        found = [f.annotation for f in model.model_fields.values() if isinstance(f.annotation, type)]
        return [inner for one in found if issubclass(one, BaseModel) for inner in (one, *groups(one))]

    inner = groups(settings_class)
    assert inner
    assert all(one.model_config.get("extra") == "forbid" and one.model_config.get("frozen") for one in inner)


@pytest.mark.parametrize("cores", [1, 2, 64, 256, None])
@pytest.mark.parametrize("processes", [0, 1, 4])
def test_defaults_suit_a_machine_of_any_size(
    cores: int | None, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores or 1)))
    settings = load_settings(ApplySettings, processes=processes)
    assert 1 <= settings.in_flight_limit <= 2 * (cores or 1)
