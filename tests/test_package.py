"""The package as a whole: what it imports, what its command says, and what the protos promise."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import facecloak.cli as cli
from facecloak.errors import FaceCloakError, InvalidInput

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "onnx", "diffusers", "transformers", "accelerate", "tritonclient", "skimage", "kornia")
# What the base install promises: packages with all their modules, and what else the command line imports.
LIGHT_PACKAGES = (
    "apply_service", "facecloak_backfill", "facecloak_rpc", "facecloak/cloaking", "facecloak/commands",
    "facecloak/faces", "facecloak/masks", "facecloak/photos", "facecloak/stores",
)  # fmt: skip
LIGHT_MODULES = (
    "facecloak.cli", "facecloak.recognizers", "enroll_service.commands", "facecloak_evaluation.command",
    "facecloak_studio.command",
)  # fmt: skip


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def modules_of(package: str) -> list[str]:
    files = (ROOT / package).rglob("*.py")
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in sorted(files)]


def test_apply_and_base_need_no_heavy_library() -> None:
    modules = [*LIGHT_MODULES, *(module for package in LIGHT_PACKAGES for module in modules_of(package))]
    # Barred, so that an import of one fails here even where the library is not installed.
    done = python(
        f"import sys, importlib\n"
        f"for name in {HEAVY}: sys.modules[name] = None\n"
        f"for name in {modules}: importlib.import_module(name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_engine_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """ONNX Runtime's own telemetry leaves a device id and a database where it is on."""
    unset = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS")  # either would switch it off without us
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    code = "import facecloak.recognizers.onnx_runtime, onnxruntime; onnxruntime.SessionOptions()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for package in ("facecloak", "facecloak_rpc", "apply_service", "enroll_service", "facecloak_evaluation"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.ClassDef) and not path.name.endswith("_pb2_grpc.py"):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_domain_does_not_load_grpc() -> None:
    done = python(
        "import sys, facecloak.cli, facecloak.cloaking.cloaker, facecloak.faces, facecloak.photos, facecloak.stores\n"
        "assert 'grpc' not in sys.modules and 'facecloak.v1' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_generated_code_serves_both_services() -> None:
    from facecloak.v1 import apply_pb2, enroll_pb2

    enroll = enroll_pb2.DESCRIPTOR.services_by_name["EnrollService"]
    apply = apply_pb2.DESCRIPTOR.services_by_name["ApplyService"]
    assert sorted(enroll.methods_by_name) == ["DeleteUser", "EnrollUser", "GetEnrollment", "ListEnrollments"]
    assert sorted(apply.methods_by_name) == ["ApplyCloak", "ApplyCloakStream", "FindFaces"]


@pytest.mark.parametrize("name", ["Outcome"])
def test_every_outcome_of_the_domain_is_in_the_protos(name: str) -> None:
    import facecloak.cloaking.cloaker
    from facecloak.v1 import apply_pb2

    domain = {outcome.name for outcome in getattr(facecloak.cloaking.cloaker, name)}
    wire = {value.removeprefix("CLOAK_OUTCOME_") for value in apply_pb2.CloakOutcome.keys()}  # noqa: SIM118 - no dict
    assert domain == wire - {"UNSPECIFIED"}


def test_version() -> None:
    done = CliRunner().invoke(cli.build_cli(), ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, f"facecloak, version {facecloak_version()}")


def facecloak_version() -> str:
    from importlib.metadata import version

    return version("facecloak")


def test_commands_of_the_installed_plugins() -> None:
    root = cli.build_cli()
    assert {"serve", "models", "enroll", "list", "delete", "apply", "faces"} <= set(root.commands)
    serve = root.commands["serve"]
    assert isinstance(serve, click.Group)
    assert {"enroll", "apply"} <= set(serve.commands)


def _cli_with(monkeypatch: pytest.MonkeyPatch, value: str) -> click.Group:
    entry = EntryPoint(name="plugin", value=value, group=cli.PLUGIN_GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    return cli.build_cli()


def test_plugin_that_cannot_be_imported_says_so_and_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    root = _cli_with(monkeypatch, "no_such_package.commands:register")
    assert CliRunner().invoke(root, ["--help"]).exit_code == 0
    done = CliRunner().invoke(root, ["plugin", "--any", "thing"])
    assert done.exit_code == 1
    assert "no_such_package.commands:register cannot be imported" in done.output
    assert len(done.output.strip().splitlines()) == 1


def refusing_plugin(root: click.Group) -> None:
    """A plugin whose commands fail in the ways that the root knows."""

    @root.command("refuse")
    def refuse() -> None:
        raise InvalidInput("the photo is\nnot a photo")

    @root.command("lack")
    def lack() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    @root.command("break")
    def defect() -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("arguments", "exit_code", "output"),
    [
        (["refuse"], 1, "facecloak: the photo is not a photo (INVALID_INPUT)\n"),
        (["lack"], 1, "facecloak: this command needs torch: pip install 'facecloak[enroll]'\n"),
    ],
)
def test_refusals_are_one_line(arguments: list[str], exit_code: int, output: str) -> None:
    root = cli.RootGroup("facecloak")
    refusing_plugin(root)
    done = CliRunner().invoke(root, arguments)
    assert (done.exit_code, done.output) == (exit_code, output)


def test_usage_errors_exit_2_and_defects_are_not_hidden() -> None:
    root = cli.RootGroup("facecloak")
    refusing_plugin(root)
    assert CliRunner().invoke(root, ["no-such-command"]).exit_code == 2
    assert isinstance(CliRunner().invoke(root, ["break"]).exception, ZeroDivisionError)


def test_notice_names_every_package_that_models_come_from() -> None:
    from facecloak.models import catalog

    notice = (ROOT / "NOTICE").read_text()
    for entry in (*catalog.RECOGNIZERS, *catalog.FINDERS):
        assert f"{entry.package.name} {entry.package.version}" in notice


def _documented_reasons() -> dict[str, str]:
    """Reason -> status code, from the list at the top of common.proto."""
    code, found = "", {}
    for line in (ROOT / "protos/facecloak/v1/common.proto").read_text().splitlines():
        if heading := re.match(r"//   ([A-Z_]+): ", line):
            code = heading[1]
        elif code and (reason := re.match(r"//     ([A-Z_]+)( |$)", line)):
            found[reason[1]] = code
    return found


def _errors(base: type[FaceCloakError] = FaceCloakError) -> set[type[FaceCloakError]]:
    """Every error that a package of ours defines. Tests that ran before may have defined errors of their own."""
    found = {base}.union(*(_errors(error) for error in base.__subclasses__()))
    return {error for error in found if not error.__module__.startswith("tests.") and error.__module__ != "conftest"}


def test_documented_reasons_are_those_of_the_code() -> None:
    for name in (
        "apply_service.errors",
        "enroll_service.errors",
        "enroll_service.pipeline.errors",
        "facecloak.cloaking.cloaker",
        "apply_service.upload_ticket",
        "facecloak_rpc.audit",
        "facecloak_rpc.caller_limits",
        "facecloak_rpc.errors",
        "facecloak_rpc.identity.errors",
        "facecloak_rpc.messages",
    ):
        importlib.import_module(name)
    defined: dict[str, str] = {}
    for error in _errors():
        assert defined.setdefault(error.reason, error.code.value) == error.code.value, error
    documented = _documented_reasons()
    assert len(documented) >= 20
    assert documented == {reason: defined.get(reason) for reason in documented}


def test_refusals_of_photos_and_of_enrollment_are_documented() -> None:
    from enroll_service.pipeline.errors import EnrollmentRefused
    from facecloak.photos.errors import PhotoRefused

    # The bases are never raised; pixels come from our own code.
    internal = {"ENROLLMENT_REFUSED", "PHOTO_REFUSED", "PIXELS_MISMATCH"}
    reasons = {error.reason for error in _errors(EnrollmentRefused) | _errors(PhotoRefused)} - internal
    assert reasons <= set(_documented_reasons())
