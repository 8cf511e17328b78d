"""The real server: installed from the pinned wheel, serving what `models build` wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak.errors import FaceCloakError
from facecloak.recognizers.triton.dev_server import install as installation
from facecloak.recognizers.triton.dev_server.install import TritonInstallation, install, installed
from facecloak.recognizers.triton.dev_server.process import TritonProcess, start_server
from facecloak.recognizers.triton.dev_server.serving import server_environment
from facecloak.recognizers.triton.errors import ServerPackageUnavailable, TritonUnavailable
from facecloak.recognizers.triton.write_repository import BuiltRepository


def test_only_the_server_comes_out_of_the_wheel(triton_installation: TritonInstallation) -> None:
    assert triton_installation.binary.exists()
    assert {path.name for path in triton_installation.backends.iterdir()} == {"python", "onnxruntime"}
    assert not list(triton_installation.home.rglob("pytriton*"))
    assert installed(triton_installation.home) == install(triton_installation.home)


def test_a_wheel_with_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ServerPackageUnavailable, match=r"pip cannot bring nvidia-pytriton"):
        install(tmp_path / "home")
    assert installed(tmp_path / "home") is None
    assert list(tmp_path.iterdir()) == []


def test_an_installation_of_another_python_is_made_again(
    triton_installation: TritonInstallation, tmp_path: Path
) -> None:
    (tmp_path / ".complete").write_text("0.7.0 for Python 3.8\n")
    assert installed(tmp_path) is None


def test_this_python_and_the_bundled_libraries_go_first(
    triton_installation: TritonInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    found = server_environment(triton_installation)["LD_LIBRARY_PATH"].split(":")
    assert found[0] == str(triton_installation.libraries)
    assert found[-1] == "/somewhere"


def test_it_serves_both_graphs_of_each_recognizer(triton_server: TritonProcess, served_models: BuiltRepository) -> None:
    from tritonclient.grpc import InferenceServerClient

    assert served_models.models == ("dlib_resnet", "dlib_resnet_grad", "mobileface", "mobileface_grad")
    with InferenceServerClient(triton_server.url) as client:
        assert all(client.is_model_ready(name, client_timeout=10) for name in served_models.models)


def test_a_server_that_cannot_start_says_why(
    triton_installation: TritonInstallation, served_models: BuiltRepository, tmp_path: Path
) -> None:
    missing = BuiltRepository(served_models.root, (*served_models.models, "no_such_model"))
    with pytest.raises(TritonUnavailable, match=r"ended with status .*no_such_model") as caught:
        start_server(triton_installation, missing, log=tmp_path / "log")
    assert isinstance(caught.value, FaceCloakError)
