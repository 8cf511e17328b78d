"""Builds the protobuf code from protos/ and the splice codec from native/; all else is in pyproject.toml.

`pip install .`, `pip install -e .` and `python setup.py build_protos` (what `make protos` runs) come through here. The
generated files land in facecloak/v1/, beside an `__init__.py` that is kept by hand, and are never committed.

The codec is Rust without dependencies, loaded by ctypes: one wheel a platform serves every Python 3. Where there is no
Rust compiler the package is built without it, and works: photos are then decoded and encoded anew instead of spliced.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools_rust import Binding, RustExtension

HERE = Path(__file__).resolve().parent
PROTOS = HERE / "protos"


def generate_protos() -> None:
    """Writes facecloak/v1/*_pb2.py, *_pb2.pyi and *_pb2_grpc.py."""
    import grpc_tools
    from grpc_tools import protoc

    includes = [PROTOS, Path(grpc_tools.__file__).parent / "_proto"]
    arguments = ["protoc", *(f"-I{folder}" for folder in includes)]
    arguments += [f"--{kind}_out={HERE}" for kind in ("python", "pyi", "grpc_python")]
    status = protoc.main([*arguments, *sorted(str(path) for path in (PROTOS / "facecloak").rglob("*.proto"))])
    if status:
        raise RuntimeError(f"protoc ended with status {status}")


class BuildProtos(Command):
    """`python setup.py build_protos`: only the protobuf code."""

    description = "generate the protobuf code"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """Nothing to set."""

    def finalize_options(self) -> None:
        """Nothing to check."""

    def run(self) -> None:
        generate_protos()


class BuildPy(build_py):
    """build_py with the protobuf code made first, so that it is packaged like hand-written modules."""

    def run(self) -> None:
        generate_protos()
        super().run()


class BuildExt(build_ext):
    """build_ext that names the codec for no Python: no interpreter imports it."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"


class BdistWheel(bdist_wheel):
    """bdist_wheel with the tag of a wheel whose compiled part knows a platform, and no Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


# Where rustup puts the compiler, for shells that do not read a profile.
os.environ["PATH"] += os.pathsep + str(Path.home() / ".cargo" / "bin")

# optional: without a compiler, a warning and no extension, unless the codec is required, as for wheels and images. No
# binding: it is loaded by ctypes and knows no Python.
SPLICE = RustExtension(
    "facecloak.photos._splice", path="native/Cargo.toml", binding=Binding.NoBinding, debug=False,
    optional=os.environ.get("FACECLOAK_CODEC") != "required",
)  # fmt: skip

setup(
    cmdclass={"bdist_wheel": BdistWheel, "build_ext": BuildExt, "build_protos": BuildProtos, "build_py": BuildPy},
    rust_extensions=[SPLICE],
)
