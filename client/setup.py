"""Builds the client's wheel: its package and the messages, which are generated from protos/ into the wheel alone.

Of a checkout the sources lie one folder up; of a source distribution, which takes them along, beside this file.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
ROOT = HERE if (HERE / "facecloak_client").is_dir() else HERE.parent
_TAKEN = ("facecloak_client/*.py", "facecloak_client/py.typed", "protos/*/*/*.proto", "LICENSE")


class BuildClient(build_py):
    """Copies the package, and writes facecloak/v1/*_pb2.py, *_pb2.pyi and *_pb2_grpc.py."""

    def run(self) -> None:
        """Writes into build_lib only."""
        import grpc_tools
        from grpc_tools import protoc

        built = Path(self.build_lib)
        messages = built / "facecloak/v1"
        messages.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            ROOT / "facecloak_client", built / "facecloak_client", dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        includes = [ROOT / "protos", Path(grpc_tools.__file__).parent / "_proto"]
        arguments = ["protoc", *(f"-I{folder}" for folder in includes)]
        arguments += [f"--{kind}_out={built}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main([*arguments, *sorted(str(path) for path in (ROOT / "protos/facecloak").rglob("*.proto"))]):
            raise RuntimeError("protoc failed")
        (messages / "__init__.py").write_text('"""The messages and stubs of package facecloak.v1."""\n')
        (messages / "py.typed").touch()

    def get_source_files(self) -> list[str]:
        """None below this folder: see TakeSources."""
        return []


class TakeSources(sdist):
    """A source distribution takes along what lies one folder up."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """See setuptools."""
        super().make_release_tree(base_dir, files)
        for pattern in _TAKEN:
            for path in ROOT.glob(pattern):
                target = Path(base_dir) / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


setup(
    cmdclass={"build_py": BuildClient, "sdist": TakeSources},
    packages=["facecloak_client", "facecloak.v1"],
    package_dir={name: str(ROOT / name.replace(".", "/")) for name in ("facecloak_client", "facecloak.v1")},
)
