"""The Helm chart rendered by the real helm, as Python objects."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.tools.binaries import helm

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "facecloak"
VALUES = ROOT / "deploy" / "helm" / "values"
VALUES_SETS = ("laptop", "cpu", "gpu")
OLDEST, NEWEST = "1.30", "1.37"
"""Kubernetes versions between which the chart is checked."""

Manifest = dict[str, Any]


class ChartRefused(Exception):
    """helm does not take the chart or the values; its own words say why."""


def run_helm(*arguments: str) -> str:
    """Runs helm and returns what it prints. Raises ChartRefused."""
    done = subprocess.run([str(helm()), *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise ChartRefused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


@cache
def text_of(values_set: str, *settings: str, kubernetes: str = NEWEST) -> str:
    """The manifests as YAML.

    Args:
        values_set: one of VALUES_SETS.
        settings: ``path=value`` on top of it.
    """
    arguments = ["template", "demo", str(CHART), "--values", str(VALUES / f"{values_set}.yaml")]
    arguments += ["--namespace", "facecloak", "--kube-version", kubernetes]
    arguments += [word for setting in settings for word in ("--set", setting)]
    return run_helm(*arguments)


def render(values_set: str, *settings: str, kubernetes: str = NEWEST) -> list[Manifest]:
    """The manifests; see :func:`text_of`."""
    documents = yaml.load_all(text_of(values_set, *settings, kubernetes=kubernetes), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]
