"""The apply server as it is: real models, a real store, a real channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from facecloak.masks.mask import Mask
from facecloak.users import User
from facecloak.v1 import apply_pb2_grpc
from facecloak_rpc.client import open_channel
from facecloak_rpc.logging import configure_logging
from facecloak_rpc.storage import StoreSettings, open_configured_store


def make_mask(seed: int) -> Mask:
    pixels = np.random.default_rng(seed).integers(-12, 13, (112, 112, 3)).astype(np.int8)
    return Mask.new(pixels, seed=seed)


class Service:
    """A running server, its store, and a stub."""

    def __init__(self, settings: ApplySettings) -> None:
        self.settings = settings
        self.store = open_configured_store(settings.store)
        self.masks = {name: make_mask(seed) for seed, name in enumerate(("alice", "bob"))}
        for name, mask in self.masks.items():
            self.store.put(User("", name), mask)
        self.server = build_apply_server(settings)
        self.server.start()
        assert self.server.readiness.wait_ready(30)
        self.channel = open_channel(self.server.target)
        self.stub = apply_pb2_grpc.ApplyServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()
        self.server.stop(grace_seconds=0)


@pytest.fixture(autouse=True)
def _logs_as_a_service_does() -> None:
    # structlog's own default is standard output, which belongs to the commands' results.
    configure_logging(log_format="json", level="info")


@pytest.fixture(scope="module")
def make_service(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**fields: Any) -> Service:
        data = tmp_path_factory.mktemp("data")
        fields = {"model_repository": model_repository, "store": StoreSettings(data=data)} | fields
        made.append(Service(ApplySettings(port=0, **fields)))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture(scope="module")
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(cache_ttl_seconds=0, cache_negative_ttl_seconds=0)
