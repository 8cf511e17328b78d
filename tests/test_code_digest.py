"""What counts as the code behind a result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facecloak.code_digest import code_digest, import_closure

FILES = {
    "__init__.py": "",
    "made.py": "from sample_code import step\n\ndef late():\n    import sample_code.rooms.late\n",
    "step.py": "from .rooms import near\n",
    "unused.py": "import sample_code.made\n",
    "rooms/__init__.py": "",
    "rooms/near.py": "import json\n",
    "rooms/late.py": "",
    "rooms/table.toml": "a = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "sample_code"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample_code"]:
        del sys.modules[name]


def test_imports_are_followed_wherever_they_stand(package: Path) -> None:
    assert sorted(import_closure("sample_code.made")) == [
        "sample_code",
        "sample_code.made",
        "sample_code.rooms",
        "sample_code.rooms.late",
        "sample_code.rooms.near",
        "sample_code.rooms/table.toml",
        "sample_code.step",
    ]


@pytest.mark.parametrize("name", ["made.py", "step.py", "rooms/late.py", "rooms/near.py", "rooms/table.toml"])
def test_a_change_of_any_of_them_changes_the_digest(package: Path, name: str) -> None:
    before = code_digest("sample_code.made")
    (package / name).write_text(FILES[name] + "\n# changed\n")
    assert code_digest("sample_code.made") != before


def test_a_change_elsewhere_does_not(package: Path) -> None:
    before = code_digest("sample_code.made")
    (package / "unused.py").write_text("import json\n")
    assert code_digest("sample_code.made") == before


def test_a_module_that_is_not_there_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        code_digest("sample_code.absent")
