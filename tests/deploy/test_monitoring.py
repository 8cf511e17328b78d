"""Dashboard and alerts ask for metrics, labels and label values that the code exports."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from apply_service.server import build_apply_server
from apply_service.settings import ApplySettings
from deploy.tools.chart import CHART
from deploy.tools.metrics import described, exported, families
from enroll_service.server import build_enroll_server
from enroll_service.settings import EnrollSettings
from facecloak.cloaking.cloaker import Outcome
from facecloak.errors import ErrorCode, FaceCloakError
from facecloak_rpc.storage import StoreSettings

MONITORING = CHART / "monitoring"
# Prometheus adds these to what it scrapes, and functions to their results.
ADDED_LABELS = {"job", "instance", "namespace", "pod", "le"}


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    found = {name: rule["expr"] for name, rule in alerts().items()}
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
            found[f"{panel['title']} {target['refId']}"] = text
    return found


def selectors(expression: Any) -> list[Any]:
    """All vector selectors of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        return [expression]
    found = []
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expression, name, None)
        if inner is not None and not isinstance(inner, str | float):
            found += selectors(inner)
    for argument in getattr(expression, "args", None) or []:
        found += selectors(argument)
    return found


@pytest.fixture(scope="module")
def metrics() -> dict[str, set[str]]:
    """Series name -> its labels, of both services as they are."""
    return exported()


def test_the_running_services_export_these_and_no_others(tmp_path: Path, model_repository: Path) -> None:
    common: dict[str, Any] = {
        "port": 0, "model_repository": model_repository, "store": StoreSettings(data=tmp_path),
    }  # fmt: skip
    running = set()
    for server in (build_apply_server(ApplySettings(**common)), build_enroll_server(EnrollSettings(**common))):
        running |= {family.name for family in server.telemetry.registry.collect()}
        server.stop(grace_seconds=0)
    assert running == {described(metric).name for metric in families()}


def test_labels_are_read_right(metrics: dict[str, set[str]]) -> None:
    assert metrics["facecloak_recognizer_seconds_bucket"] == {"recognizer", "call", "runtime", "outcome", "le"}
    assert metrics["facecloak_ready"] == set()


def test_every_expression_asks_for_what_there_is(metrics: dict[str, set[str]]) -> None:
    for where, text in expressions().items():
        found = selectors(promql_parser.parse(text))
        assert found, where
        for selector in found:
            assert selector.name in metrics, f"{where}: no metric {selector.name}"
            for matcher in selector.matchers.matchers:
                assert matcher.name in metrics[selector.name] | ADDED_LABELS, f"{where}: no label {matcher.name}"
        for grouping in re.findall(r"\bby \(([^)]*)\)", text):
            labels = {label.strip() for label in grouping.split(",")}
            known = set().union(*(metrics[selector.name] for selector in found)) | ADDED_LABELS
            assert labels <= known, f"{where}: {labels - known}"


def test_values_of_labels_are_the_codes_own(metrics: dict[str, set[str]]) -> None:
    for module in (
        "enroll_service.errors",
        "enroll_service.pipeline.errors",
        "facecloak.stores",
        "facecloak_rpc.errors",
    ):
        importlib.import_module(module)
    reasons = {error.reason for error in subclasses(FaceCloakError)}
    known = {
        "code": {code.value for code in ErrorCode} | {"OK", "UNKNOWN"},
        "reason": reasons,
        "outcome": reasons | {outcome.value for outcome in Outcome} | {"OK", "stored", "stale"},
        "stage": {"synthesize", "perturb", "personalize"},
        "method": {"facecloak.v1.ApplyService/ApplyCloak"},
    }
    for where, text in expressions().items():
        for selector in selectors(promql_parser.parse(text)):
            for matcher in selector.matchers.matchers:
                for value in str(matcher.value).split("|") if matcher.name in known else ():
                    if value and ".*" not in value:
                        assert value in known[matcher.name], f"{where}: {matcher.name}={value}"


def subclasses(base: type[Any]) -> set[type[Any]]:
    return {base}.union(*(subclasses(one) for one in base.__subclasses__()))


def test_every_alert_is_complete_and_has_its_runbook() -> None:
    page = (CHART.parents[2] / "docs" / "operations.md").read_text()
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"warning", "critical"}, name
        assert {"summary", "description"} <= set(rule["annotations"]), name
        assert f"### {name}\n" in page, f"docs/operations.md has no runbook for {name}"


def test_the_dashboard_is_one_grafana_takes() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels():
        assert panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_prometheus_itself_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here; the expressions were parsed by promql-parser above")
    done = subprocess.run([promtool, "check", "rules", str(MONITORING / "alerts.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
