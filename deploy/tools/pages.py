"""Writes the parts of docs/operations.md that the code knows better: settings, metrics, alerts.

python -m deploy.tools.pages            # after a change of a setting, a metric or an alert
python -m deploy.tools.pages --check    # whether the page is current
"""

from __future__ import annotations

import json
import re
import sys
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
from deploy.tools.metrics import described, families, labels_of
from enroll_service.settings import EnrollSettings
from facecloak_rpc.environment import variables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
NOTE = "<!-- written by python -m deploy.tools.pages; edits here are lost -->"


def settings_table(settings_class: type[BaseSettings]) -> str:
    """One row a setting: variable, default, what it means and where the default comes from."""
    prefix = str(settings_class.model_config["env_prefix"])
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in variables(settings_class):
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{name.removeprefix(prefix)}` | {_default(field)} | {meaning} |")
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


def current(page: str) -> str:
    """``page`` with every written part as the code has it now."""
    parts = {
        "enroll-settings": settings_table(EnrollSettings),
        "apply-settings": settings_table(ApplySettings),
        "metrics": metrics_table(),
        "alerts": alerts_table(),
    }
    for name, text in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has no part {name}")
        page = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{NOTE}\n\n{text}\n\n{end}", page, flags=re.S)  # noqa: B023
    return page


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
@click.option("--check", is_flag=True, help="Only say whether the page is current.")
def main(*, check: bool) -> None:
    """Write the settings, metrics and alerts into docs/operations.md."""
    old = PAGE.read_text()
    new = current(old)
    if not check:
        PAGE.write_text(new)
    elif new != old:
        click.echo(f"{PAGE.name} is behind the code: python -m deploy.tools.pages", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
