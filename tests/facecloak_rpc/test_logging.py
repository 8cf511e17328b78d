"""Logs hold nothing secret; settings print without secrets."""

from __future__ import annotations

import errno
import io
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import structlog
from pydantic import ValidationError

from apply_service.settings import ApplySettings
from facecloak.users import User
from facecloak_rpc.command import InvalidSettings, load_settings
from facecloak_rpc.logging import configure_logging, user_tag
from facecloak_rpc.settings import describe


def test_secrets_are_withheld(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="json", level="info")
    structlog.get_logger().info("event", user_id="alice", vector=np.ones(4), data=b"photo", photo="x", seconds=1.5)
    line = json.loads(capsys.readouterr().err)
    for name in ("user_id", "vector", "data", "photo"):
        assert line[name] == "<withheld>"
    assert line["seconds"] == 1.5


def test_levels_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format="json", level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_user_tags_tell_users_apart_and_nothing_else() -> None:
    alice, bob = User("", "alice"), User("", "bob")
    assert len({user_tag(alice), user_tag(alice), user_tag(bob), user_tag(User("acme", "alice"))}) == 3
    assert "alice" not in user_tag(alice)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_APPLY_PORT", "1234")
    monkeypatch.setenv("FACECLOAK_APPLY_STORE__DATA", "/somewhere")
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", "/models")
    settings = ApplySettings()
    assert (settings.port, settings.store.data, settings.model_repository) == (
        1234,
        Path("/somewhere"),
        Path("/models"),
    )
    assert load_settings(ApplySettings, port=99).port == 99
    assert load_settings(ApplySettings, data=Path("d")).store.data == Path("d")
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_a_wrong_setting_names_the_field_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_APPLY_PORT", "s3cret")
    with pytest.raises(InvalidSettings, match="setting port") as refused:
        load_settings(ApplySettings)
    assert "s3cret" not in refused.value.public_message


def test_every_printed_setting_says_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACECLOAK_APPLY_STORE__KEY", "c2VjcmV0")
    text = describe(ApplySettings())
    assert "FACECLOAK_APPLY_STORE__KEY=<set>" in text
    assert "c2VjcmV0" not in text
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if not line.startswith("#"):
            assert lines[index - 1].startswith("# "), line


class FullDisk(io.StringIO):
    """Takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_loses_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(log_format="json", level="info")
    monkeypatch.setattr(sys, "stderr", FullDisk())
    for _ in range(3):
        structlog.get_logger("test").error("said", size=1)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    structlog.get_logger("test").error("said again")
    assert json.loads(written.getvalue())["event"] == "said again"


class StuckDisk(io.StringIO):
    """Takes its first line after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.go_on.wait(20)
        return super().write(text)


def test_nobody_waits_for_another_threads_line(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(log_format="json", level="info")
    disk = StuckDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    first = threading.Thread(target=structlog.get_logger().info, args=("0",))
    first.start()
    assert disk.entered.wait(10)
    for number in range(1, 4):
        structlog.get_logger().info(str(number))  # returns, though nothing is written yet
    assert disk.getvalue() == ""
    disk.go_on.set()
    first.join(20)
    assert [json.loads(line)["event"] for line in disk.getvalue().splitlines()] == ["0", "1", "2", "3"]


def test_lines_that_nothing_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(log_format="json", level="info")
    disk = StuckDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    first = threading.Thread(target=structlog.get_logger().info, args=("first",))
    first.start()
    assert disk.entered.wait(10)
    for number in range(10_050):
        structlog.get_logger().info(str(number))
    disk.go_on.set()
    first.join(20)
    events = [json.loads(line)["event"] for line in disk.getvalue().splitlines()]
    assert (len(events), events[0], events[-1]) == (10_001, "first", "10049")
