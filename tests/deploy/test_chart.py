"""The Helm chart, rendered by the real helm for each values set, against Kubernetes' schemas and our policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from apply_service.servicer import SERVICE_NAME as APPLY
from apply_service.settings import ApplySettings
from deploy.tools.chart import NEWEST, OLDEST, VALUES_SETS, ChartRefused, Manifest, render
from enroll_service.servicer import SERVICE_NAME as ENROLL
from enroll_service.settings import EnrollSettings
from facecloak_rpc.command import load_settings

EACH = pytest.mark.parametrize("values_set", VALUES_SETS)
CUSTOM = ("ScaledObject", "PodMonitor", "PrometheusRule", "GRPCRoute", "ServingRuntime", "InferenceService")


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def workloads(values_set: str) -> list[Manifest]:
    return of_kind(render(values_set), "Deployment", "StatefulSet")


def containers(values_set: str, *, steps: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    for workload in workloads(values_set):
        pod = workload["spec"]["template"]["spec"]
        for container in [*pod["containers"], *(pod.get("initContainers", []) if steps else [])]:
            yield f"{workload['metadata']['name']}/{container['name']}", container


def component(values_set: str, name: str) -> Manifest:
    (found,) = (one for one in workloads(values_set) if one["metadata"]["name"] == f"demo-{name}")
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "<secret>") for one in container["env"]}


@EACH
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_it(values_set: str, version: str) -> None:
    manifests = [one for one in render(values_set, kubernetes=version) if one["kind"] not in CUSTOM]
    assert len(manifests) >= 10
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_would_notice_a_fault() -> None:
    deployment = component("cpu", "apply")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


@EACH
def test_nothing_runs_as_root_or_writes_its_root(values_set: str) -> None:
    for workload in workloads(values_set):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for name, container in containers(values_set):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


@EACH
def test_everything_has_limits_and_a_fixed_image(values_set: str) -> None:
    for name, container in containers(values_set):
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][bound]), name
        image = container["image"]
        assert ":" in image.rpartition("/")[2], name
        assert not image.endswith(":latest"), name


@EACH
def test_everything_is_probed(values_set: str) -> None:
    for name, container in containers(values_set, steps=False):
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
    for part, service in (("apply", APPLY), ("enroll", ENROLL)):
        (container,) = component(values_set, part)["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["grpc"]["service"] == container["startupProbe"]["grpc"]["service"] == service
        # Restarting a process because a store is away would only make it worse.
        assert container["livenessProbe"]["httpGet"] == {"port": "metrics", "path": "/livez"}


@pytest.mark.parametrize(("part", "settings_class"), [("apply", ApplySettings), ("enroll", EnrollSettings)])
def test_tls_by_a_secret(part: str, settings_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("tls.secret=facecloak-tls", "tls.mutual=true", "insecureListen=false", "callersSecret=callers")
    (workload,) = (one for one in render("cpu", *chosen) if one["metadata"]["name"] == f"demo-{part}" and "spec" in one
                   and one["kind"] == "Deployment")  # fmt: skip
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for name, value in environment(container).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(settings_class)
    assert settings.is_protected
    assert str(settings.identity.callers) == "/callers/callers.toml"
    assert {"name": "callers", "mountPath": "/callers", "readOnly": True} in container["volumeMounts"]
    assert not settings.insecure_listen
    (volume,) = (one for one in pod["volumes"] if one["name"] == "tls")
    assert volume["secret"]["secretName"] == "facecloak-tls"
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "tls")
    for path in (settings.tls.certificate, settings.tls.key, settings.tls.client_ca):
        assert str(path).startswith(mount["mountPath"] + "/")
    # The kubelet speaks no TLS to gRPC.
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"port": "metrics", "path": "/readyz"}
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(workload, version, strict=True)


@EACH
@pytest.mark.parametrize(("part", "settings_class"), [("apply", ApplySettings), ("enroll", EnrollSettings)])
def test_the_services_take_their_environment(
    values_set: str, part: str, settings_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = component(values_set, part)["spec"]["template"]["spec"]["containers"]
    for name, value in environment(container).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(settings_class)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert (settings.port, settings.metrics_port) == (ports["grpc"], ports["metrics"])
    assert settings.store.url.startswith("s3://")
    assert settings.store.s3_endpoint
    assert settings.connection_age_seconds == 300


@EACH
def test_a_stop_outlasts_the_longest_call(values_set: str) -> None:
    for part in ("apply", "enroll"):
        pod = component(values_set, part)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        given = environment(container)
        grace = float(given[f"FACECLOAK_{part.upper()}_GRACE_SECONDS"])
        assert pod["terminationGracePeriodSeconds"] > sleep + grace
        # Two failing probes take a pod out of the endpoints, should nobody watch its health.
        probe = container["readinessProbe"]
        assert sleep >= probe["periodSeconds"] * probe["failureThreshold"]
        if part == "enroll":
            assert grace > float(given["FACECLOAK_ENROLL_ENROLLMENT_SECONDS_LIMIT"])


@EACH
def test_the_largest_photos_fit_into_memory(values_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = component(values_set, "apply")["spec"]["template"]["spec"]["containers"]
    for name, value in environment(container).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(ApplySettings)
    assert settings.processes == 1
    assert 11 * settings.photo_megapixels_limit * 10**6 < settings.memory_mebibytes * 2**20
    limit = container["resources"]["limits"]["memory"]
    units = {"Mi": 1, "Gi": 1024}
    assert settings.process_mebibytes <= int(limit[:-2]) * units[limit[-2:]]


@EACH
def test_clients_find_every_pod(values_set: str) -> None:
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(values_set), "Service")}
    for part in ("apply", "enroll"):
        assert services[f"demo-{part}"]["clusterIP"] == "None"


@EACH
def test_selectors_find_their_pods_and_nothing_else(values_set: str) -> None:
    manifests = render(values_set)
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"].items() for one in workloads(values_set)
    }
    for one in of_kind(manifests, "Service", "PodDisruptionBudget", "Deployment", "PodMonitor"):
        selector = one["spec"]["selector"]
        wanted = selector.get("matchLabels", selector).items()
        assert [name for name, given in labels.items() if wanted <= given] == [one["metadata"]["name"]]
    for workload in workloads(values_set):
        pod = workload["spec"]["template"]["spec"]
        if workload["kind"] == "Deployment":
            assert len(pod["topologySpreadConstraints"]) == 2
        mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
        claimed = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed


@EACH
def test_secrets_are_referred_to_and_never_written(values_set: str) -> None:
    manifests = render(values_set)
    assert not of_kind(manifests, "Secret")
    for name, container in containers(values_set):
        for variable in container.get("env", []):
            if any(word in variable["name"] for word in ("KEY", "SECRET", "PASSWORD")):
                assert "secretKeyRef" in variable["valueFrom"], (name, variable["name"])


@pytest.mark.parametrize("values_set", ["cpu", "gpu"])
def test_the_network_lets_in_callers_and_scrapers_only(values_set: str) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(values_set), "NetworkPolicy")}
    assert policies["demo-deny"]["policyTypes"] == ["Ingress", "Egress"]
    assert not policies["demo-deny"].get("ingress")
    assert not policies["demo-deny"].get("egress")
    for name in ("demo-apply", "demo-enroll", "demo-triton"):
        assert all(rule["from"] for rule in policies[name]["ingress"]), name
    triton_callers = policies["demo-triton"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert triton_callers["app.kubernetes.io/component"] == "enroll"


def test_enroll_is_scaled_by_its_queue() -> None:
    hpas = {one["metadata"]["name"]: one["spec"] for one in of_kind(render("cpu"), "HorizontalPodAutoscaler")}
    assert hpas["demo-enroll"]["metrics"][0]["pods"]["metric"]["name"] == "facecloak_enrollments_waiting"
    assert hpas["demo-apply"]["metrics"][0]["resource"]["name"] == "cpu"
    (scaled,) = of_kind(render("gpu"), "ScaledObject")
    trigger = scaled["spec"]["triggers"][0]
    assert trigger["type"] == "prometheus"
    assert "facecloak_enrollments_waiting" in trigger["metadata"]["query"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "demo-enroll"
    # A replica count would fight whoever scales.
    assert "replicas" not in component("gpu", "enroll")["spec"]


def test_gpu_pods_go_to_gpu_nodes() -> None:
    for part in ("enroll", "triton"):
        pod = component("gpu", part)["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
        assert pod["runtimeClassName"] == "nvidia"
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nodeSelector" not in component("gpu", "apply")["spec"]["template"]["spec"]


def test_triton_reads_its_models_from_an_image_or_from_object_storage() -> None:
    steps = component("cpu", "triton")["spec"]["template"]["spec"]["initContainers"]
    assert steps[0]["command"] == ["cp", "-R", "/triton/.", "/repository/"]
    pod = component("gpu", "triton")["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert "--model-repository=s3://https://s3.example.com:443/facecloak-models/gpu" in pod["containers"][0]["args"]
    assert "AWS_SECRET_ACCESS_KEY" in environment(pod["containers"][0])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("apply.image.tag=latest", "tag"),
        ("apply.image.repository=facecloak-apply:0.1.0", "repository"),
        ("apply.image.digest=sha256:12", "digest"),
        ("enroll.image.variant=tpu", "variant"),
        ("aply.replicas=2", "aply"),
        ("store.url=/somewhere", "url"),
        ("enroll.autoscaling.kind=guess", "kind"),
        ("apply.settings.port=1", "port"),
    ],
)
def test_wrong_values_are_refused(setting: str, told: str) -> None:
    with pytest.raises(ChartRefused, match=told):
        render("cpu", setting)


def test_a_store_without_an_endpoint_is_refused() -> None:
    with pytest.raises(ChartRefused, match=r"store\.endpoint is needed"):
        render("cpu", "store.endpoint=")
