"""Every method of both services asks for a right."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor import FileDescriptor

import facecloak.v1
from facecloak_rpc.identity import ANYBODY, Caller, Right
from facecloak_rpc.identity.errors import RightMissing
from facecloak_rpc.identity.rights import RIGHTS, require_right


def methods() -> set[str]:
    """Full names of all methods that the protos declare."""
    names = set()
    for module in pkgutil.iter_modules(facecloak.v1.__path__):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(f"facecloak.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                names |= {f"{service.full_name}/{method.name}" for method in service.methods}
    return names


def test_every_method_has_its_right_and_no_other_is_named() -> None:
    assert len(methods()) >= 6
    assert set(RIGHTS) == methods()


def test_a_right_gives_no_other() -> None:
    for method, right in RIGHTS.items():
        require_right(Caller("one", rights=frozenset({right})), method)
        require_right(ANYBODY, method)
        with pytest.raises(RightMissing):
            require_right(Caller("one", rights=frozenset(Right) - {right}), method)
    with pytest.raises(RightMissing):
        require_right(Caller("one"), "facecloak.v1.EnrollService/Invented")
