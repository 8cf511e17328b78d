"""The Helm chart rendered by the real helm, as Python objects."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from deploy.tools.binaries import helm

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "facecloak"
VALUES = ROOT / "deploy" / "helm" / "values"
VALUES_SETS = ("laptop", "cpu", "gpu")
OLDEST, NEWEST = "1.30", "1.37"
"""Kubernetes versions between which the chart is checked."""

CUSTOM_APIS = (
    "gateway.networking.k8s.io/v1/GRPCRoute", "keda.sh/v1alpha1", "monitoring.coreos.com/v1",
    "serving.kserve.io/v1alpha1", "serving.kserve.io/v1beta1",
)  # fmt: skip
"""What operators bring to a cluster and the chart can use. Rendered without a cluster, they are assumed."""

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
def text_of(
    values_set: str, *settings: str, kubernetes: str = NEWEST, apis: tuple[str, ...] = CUSTOM_APIS, values: str = ""
) -> str:
    """The manifests as YAML.

    Args:
        values_set: one of VALUES_SETS.
        settings: ``path=value`` on top of it.
        kubernetes: the cluster's version.
        apis: what operators have brought to the cluster.
        values: more values as YAML, on top of the set and below ``settings``.
    """
    arguments = ["template", "demo", str(CHART), "--values", str(VALUES / f"{values_set}.yaml")]
    arguments += ["--namespace", "facecloak", "--kube-version", kubernetes]
    arguments += [word for api in apis for word in ("--api-versions", api)]
    arguments += [word for setting in settings for word in ("--set", setting)]
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        return run_helm(*arguments, "--values", file.name)


def render(
    values_set: str, *settings: str, kubernetes: str = NEWEST, apis: tuple[str, ...] = CUSTOM_APIS, values: str = ""
) -> list[Manifest]:
    """The manifests; see :func:`text_of`."""
    text = text_of(values_set, *settings, kubernetes=kubernetes, apis=apis, values=values)
    documents = yaml.load_all(text, Loader=yaml.CSafeLoader)
    return [document for document in documents if document]
