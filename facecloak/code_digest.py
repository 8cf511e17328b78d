"""What code a result depends on, computed from its imports: what was made by other code is known as stale."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path


def code_digest(*modules: str) -> str:
    """SHA-256 (hexadecimal) of these modules and all that they import, directly or not, of the same packages.

    Imports within functions count, and so do the data files and compiled libraries of each package that takes part.

    Args:
        modules: dotted names. Imports are followed within their top-level packages and no further.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    digest = hashlib.sha256()
    for name, path in sorted(import_closure(*modules).items()):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def import_closure(*modules: str) -> dict[str, Path]:
    """The files behind :func:`code_digest`, by a name that is the same wherever the packages lie."""
    packages = {name.partition(".")[0] for name in modules}
    files: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = _spec(name)
        if spec is None:
            if name in modules:
                raise ModuleNotFoundError(f"no module named {name!r}")
            continue
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        if spec.origin is None or not spec.origin.endswith(".py"):
            continue
        path = Path(spec.origin)
        files[name] = path
        is_package = spec.submodule_search_locations is not None
        if is_package:
            files.update({f"{name}/{data.name}": data for data in _data_files(path.parent)})
        package = name if is_package else parent
        waiting += [found for found in _imports(path, package) if found.partition(".")[0] in packages]
    return files


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # "a.b.NAME", where a.b is a module and NAME a thing in it
        return None


def _data_files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi"))


def _imports(path: Path, package: str) -> Iterator[str]:
    """Dotted names that a source file may import; names imported from a package may be modules of it."""
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
