"""Services of the Compose file as containers, by Podman, which needs no daemon."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from typing import Any

from deploy.tools.images import Engine


class Containers:
    """Runs services of one configuration on a network of their own. A context manager: all is removed at its end."""

    def __init__(self, engine: Engine, services: dict[str, dict[str, Any]]) -> None:
        self._engine, self._services = engine, services
        self._prefix = f"facecloak-test-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Containers:
        self.podman("network", "create", self._prefix)
        return self

    def __exit__(self, *error: object) -> None:
        for kind, removal in (("ps", ("rm", "--force", "--time", "5")), ("volume", ("volume", "rm", "--force"))):
            listing = ["ps", "--all"] if kind == "ps" else ["volume", "ls"]
            column = "{{.Names}}" if kind == "ps" else "{{.Name}}"
            names = self.podman(*listing, "--filter", f"name={self._prefix}", "--format", column).split()
            for name in names:
                self.podman(*removal, name)
        self.podman("network", "rm", "--force", self._prefix)

    def podman(self, *arguments: str, seconds: float = 120) -> str:
        """Runs podman; its output. An AssertionError quotes what it says where it fails."""
        command = [*self._engine.command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"{' '.join(arguments[:3])} ...\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        return done.stdout

    def name(self, service: str) -> str:
        """The container of a service."""
        return f"{self._prefix}-{service}"

    def start(self, service: str, *more: str, command: list[str] | None = None, image: str = "") -> None:
        """Starts a service; ``more`` are options of `podman run`."""
        self.podman("run", "--detach", *self._options(service), *more, *self._what(service, command, image))

    def run(self, service: str, *more: str, command: list[str] | None = None, seconds: float = 300) -> str:
        """Runs a service to its end; its output."""
        return self.podman(
            "run", "--rm", *self._options(service), *more, *self._what(service, command, ""), seconds=seconds
        )

    def logs(self, service: str) -> str:
        """What a service has said, both streams."""
        command = [*self._engine.command, "logs", self.name(service)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout + done.stderr

    def wait_healthy(self, service: str, *, seconds: float = 300) -> None:
        """Until the service's own health check succeeds. Podman would want systemd to run it."""
        test = self._services[service]["healthcheck"]["test"][1:]
        deadline = time.monotonic() + seconds
        while subprocess.run(
            [*self._engine.command, "exec", self.name(service), *test], capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, self.logs(service)[-2000:]
            time.sleep(1)

    def inspect(self, service: str) -> dict[str, Any]:
        """What podman knows of a service's container."""
        return json.loads(self.podman("inspect", self.name(service)))[0]

    def _what(self, service: str, command: list[str] | None, image: str) -> list[str]:
        definition = self._services[service]
        return [image or definition["image"], *(command if command is not None else definition.get("command") or [])]

    def _options(self, service: str) -> list[str]:
        definition = self._services[service]
        options = ["--name", self.name(service), "--network", self._prefix, "--network-alias", service]
        # Of the machine's own limits, which may be lower than podman's wishes.
        options += ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
        for alias in (definition.get("networks", {}).get("default") or {}).get("aliases", []):
            options += ["--network-alias", alias]
        for name, value in definition.get("environment", {}).items():
            options += ["--env", f"{name}={value}"]
        options += ["--read-only", "--read-only-tmpfs=false"] if definition.get("read_only") else []
        options += [f"--cap-drop={name}" for name in definition.get("cap_drop", [])]
        options += [f"--cap-add={name}" for name in definition.get("cap_add", [])]
        options += [word for each in definition.get("security_opt", []) for word in ("--security-opt", _option(each))]
        options += [word for each in definition.get("tmpfs", []) for word in ("--tmpfs", each)]
        options += ["--user", definition["user"]] if "user" in definition else []
        if entrypoint := definition.get("entrypoint"):
            options += ["--entrypoint", json.dumps(entrypoint)]
        if memory := definition.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory"):
            options += ["--memory", str(memory)]
        for mount in definition.get("volumes", []):
            source = mount["source"] if mount["type"] == "bind" else f"{self._prefix}-{mount['source']}"
            options += ["--volume", f"{source}:{mount['target']}{':ro' if mount.get('read_only') else ''}"]
        return options


def _option(compose: str) -> str:
    """`no-new-privileges:true`, as Compose has it, is podman's `no-new-privileges`."""
    return compose.removesuffix(":true")
