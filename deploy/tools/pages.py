"""Writes the parts of pages that the code knows better: settings, metrics and alerts in docs/, values of the chart.

python -m deploy.tools.pages            # after a change of a setting, a metric, an alert or the chart's values
python -m deploy.tools.pages --check    # whether the pages are current
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from apply_service.settings import ApplySettings
from deploy.tools.chart import CHART
from deploy.tools.chart_values import values_table
from deploy.tools.metrics import described, families, labels_of
from enroll_service.pipeline.recipe import Recipe
from enroll_service.settings import EnrollSettings
from facecloak_rpc.environment import variables

DOCS = Path(__file__).resolve().parents[2] / "docs"
SETTINGS_PAGE = DOCS / "settings.md"
OPERATIONS_PAGE = DOCS / "operations.md"
CHART_PAGE = CHART / "README.md"
NOTE = "<!-- written by python -m deploy.tools.pages; edits here are lost -->"


def settings_table(settings_class: type[BaseSettings]) -> str:
    """One row a setting: variable, default, what it means and where the default comes from."""
    prefix = str(settings_class.model_config["env_prefix"])
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in variables(settings_class):
        rows.append(f"| `{name.removeprefix(prefix)}` | {_default(field)} | {_meaning(field)} |")
    return "\n".join(rows)


def metrics_table() -> str:
    """One row a metric: name, kind, labels, what it counts."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in families():
        family = described(metric)
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in labels_of(metric))
        rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def alerts_table() -> str:
    """One row an alert, with a link to its runbook."""
    rows = ["| alert | severity | after | what it means |", "|---|---|---|---|"]
    for group in yaml.safe_load((CHART / "monitoring" / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            name, meaning = rule["alert"], " ".join(rule["annotations"]["description"].split())
            waits = rule.get("for", "at once")
            rows.append(f"| [{name}](#{name.lower()}) | {rule['labels']['severity']} | {waits} | {meaning} |")
    return "\n".join(rows)


def recipe_table() -> str:
    """One row a part of the recipe: name, default, what it means and where the default comes from."""
    rows = ["| part | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {_default(field)} | {_meaning(field)} |" for name, field in _parts(Recipe)]
    return "\n".join(rows)


def _parts(model: type[BaseModel], group: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _parts(inner, f"{group}{name}.")
        else:
            yield f"{group}{name}", field


PARTS: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    SETTINGS_PAGE: {
        "enroll-settings": lambda: settings_table(EnrollSettings),
        "recipe": recipe_table,
        "apply-settings": lambda: settings_table(ApplySettings),
    },
    OPERATIONS_PAGE: {"metrics": metrics_table, "alerts": alerts_table},
    CHART_PAGE: {"values": values_table},
}
"""By page, what is written into it."""


def current(path: Path) -> str:
    """The page with every written part as the code has it now."""
    page = path.read_text()
    for name, write in PARTS[path].items():
        text, begin, end = write(), f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has no part {name}")
        page = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{NOTE}\n\n{text}\n\n{end}", page, flags=re.S)  # noqa: B023
    return page


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        # What depends on the machine; its meaning says how.
        return "(by machine)"
    value: Any = field.default
    if isinstance(value, BaseModel | SecretStr) or value is None or value == "":
        return ""
    if isinstance(value, tuple | list | dict):
        return f"`{json.dumps(value, default=str)}`"
    return f"`{value}`"


@click.command()
@click.option("--check", is_flag=True, help="Only say whether the pages are current.")
def main(*, check: bool) -> None:
    """Write settings, metrics, alerts and the chart's values into the pages."""
    behind = [path for path in PARTS if current(path) != path.read_text()]
    for path in behind:
        if check:
            click.echo(f"{path.name} is behind the code: python -m deploy.tools.pages", err=True)
        else:
            path.write_text(current(path))
    sys.exit(1 if check and behind else 0)


if __name__ == "__main__":
    main()
