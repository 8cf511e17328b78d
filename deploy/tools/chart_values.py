"""The chart's values as a table, from the comments of values.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from deploy.tools.chart import CHART

# Keys whose mapping is a value of its own, not a group of values: what a user writes in its place replaces it.
_WHOLE = {"image", "requests", "limits"}


def values_table() -> str:
    """One row a value: its path, its default, and the comment above it."""
    text = (CHART / "values.yaml").read_text()
    rows = ["| value | default | meaning |", "|---|---|---|"]
    comments = dict(_comments(text))
    for path, default in _leaves(yaml.safe_load(text)):
        meaning = " ".join(filter(None, (comments.get(path[:length], "") for length in range(1, len(path) + 1))))
        # A group's comment is told once, at its first value.
        for length in range(1, len(path)):
            comments.pop(path[:length], None)
        rows.append(f"| `{'.'.join(path)}` | {_shown(default)} | {_escaped(meaning)} |")
    return "\n".join(rows)


def _leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in _WHOLE and not name.endswith(("Labels", "nnotations")):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path of a key -> the comment directly above it."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        key = re.match(r"( *)([\w.-]+):", line)
        if line.lstrip().startswith("# "):
            comment.append(line.strip()[2:])
        elif key:
            path = [(depth, name) for depth, name in path if depth < len(key[1])] + [(len(key[1]), key[2])]
            yield tuple(name for _, name in path), " ".join(comment)
            comment = []
        else:
            comment = []


def _escaped(meaning: str) -> str:
    return meaning.replace("|", "&#124;").replace("<", "&lt;")


def _shown(value: Any) -> str:
    return "" if value in ("", None) else f"`{json.dumps(value, ensure_ascii=False)}`"
