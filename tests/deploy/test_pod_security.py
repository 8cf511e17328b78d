"""Every pod of the chart is one that a namespace enforcing the Pod Security Standard *restricted* admits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.tools.chart import VALUES_SETS, Manifest, render
from tests.deploy.pod_security import violations

MORE = (
    "bundledS3.enabled=true", "store.volume.enabled=true", "tests.enabled=true", "triton.enabled=true",
    "audit.enabled=true", "eraseExpired.enabled=true",
)  # fmt: skip
KSERVE = ("triton.enabled=true", "triton.kserve.enabled=true", "triton.kserve.storageUri=s3://models/x")


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in manifests:
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]
        if one["kind"] == "CronJob":
            yield one["metadata"]["name"], one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        if one["kind"] == "InferenceService":
            # As KServe puts them together: the pod's part from here, its container from the runtime.
            (runtime,) = (each for each in manifests if each["kind"] == "ServingRuntime")
            yield one["metadata"]["name"], {**runtime["spec"], **one["spec"]["predictor"]}


def security(pod: dict[str, Any], kind: str = "containers") -> dict[str, Any]:
    return pod[kind][0]["securityContext"]


@pytest.mark.parametrize("values_set", VALUES_SETS)
@pytest.mark.parametrize("more", [(), MORE, KSERVE], ids=["as it is", "all of it", "kserve"])
def test_restricted_admits_every_pod(values_set: str, more: tuple[str, ...]) -> None:
    found = dict(pods(render(values_set, *more)))
    assert {"demo-apply", "demo-enroll", "demo-test"} <= set(found)
    for name, pod in found.items():
        assert violations(pod) == [], name


@pytest.mark.parametrize(
    ("told", "change"),
    [
        ("hostNetwork", lambda pod: pod.update(hostNetwork=True)),
        ("volume x: hostPath", lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
        ("runAsNonRoot", lambda pod: pod["securityContext"].pop("runAsNonRoot")),
        ("runAsUser 0", lambda pod: pod["securityContext"].update(runAsUser=0)),
        ("seccompProfile", lambda pod: pod["securityContext"].pop("seccompProfile")),
        ("allowPrivilegeEscalation", lambda pod: security(pod).pop("allowPrivilegeEscalation")),
        ("models: capabilities not dropped", lambda pod: security(pod, "initContainers").pop("capabilities")),
        ("hostPort", lambda pod: pod["containers"][0]["ports"][0].update(hostPort=80)),
    ],
)  # fmt: skip
def test_the_check_would_notice(told: str, change: Callable[[dict[str, Any]], Any]) -> None:
    pod = copy.deepcopy(dict(pods(render("cpu")))["demo-apply"])
    change(pod)
    assert any(told in fault for fault in violations(pod))
