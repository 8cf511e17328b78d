"""What platform teams set on a chart: names, placement, extras, routes, meshes, volumes, and what a cluster lacks."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from apply_service.settings import ApplySettings
from deploy.tools.chart import CHART, CUSTOM_APIS, NEWEST, OLDEST, ChartRefused, Manifest, render
from enroll_service.settings import EnrollSettings
from facecloak_rpc.command import load_settings
from tests.deploy.test_chart import CUSTOM, environment, of_kind

# Everything that a pod's specification takes and the chart does not decide itself.
POD = """
  nodeSelector: {disk: fast}
  tolerations: [{key: photos, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
    {matchExpressions: [{key: gen, operator: In, values: ["5"]}]}]}}}
  topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule,
    labelSelector: {matchLabels: {app.kubernetes.io/instance: demo}}}]
  priorityClassName: uploads
  runtimeClassName: gvisor
  podLabels: {team: photos, app.kubernetes.io/component: hijacked}
  podAnnotations: {sidecar.istio.io/inject: "true"}
  serviceAnnotations: {svc: "1"}
  serviceAccountAnnotations: {role: arn}
  extraEnv: [{name: SSL_CERT_FILE, value: /ca/ca.crt}]
  extraEnvFrom: [{configMapRef: {name: proxies}}]
  extraVolumes: [{name: ca, configMap: {name: ca}}]
  extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
  extraContainers: [{name: sidecar, image: "proxy:1"}]
  extraInitContainers: [{name: before, image: "wait:1"}]
"""
PARTS = ("apply", "enroll", "triton")


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def check(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        for version in (OLDEST, NEWEST) if manifest["kind"] not in CUSTOM else ():
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("part", PARTS)
def test_pods_take_what_teams_add(part: str) -> None:
    manifests = render("cpu", values=f"{part}:{POD}")
    check(manifests)
    deployment = one(manifests, "Deployment", f"demo-{part}")
    template = deployment["spec"]["template"]
    wanted: dict[str, Any] = yaml.safe_load(f"x:{POD}")["x"]
    for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert template["spec"][name] == wanted[name]
    assert template["spec"]["runtimeClassName"] == "gvisor"
    assert template["metadata"]["annotations"] == wanted["podAnnotations"]
    assert template["metadata"]["labels"]["team"] == "photos"
    # A label of the selector is the chart's alone: or the pods would be nobody's.
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    own, sidecar = template["spec"]["containers"]
    assert sidecar["name"] == "sidecar"
    assert template["spec"]["initContainers"][-1]["name"] == "before"
    assert own["env"][-1] == wanted["extraEnv"][0]
    assert own["envFrom"] == wanted["extraEnvFrom"]
    assert own["volumeMounts"][-1] == wanted["extraVolumeMounts"][0]
    assert wanted["extraVolumes"][0] in template["spec"]["volumes"]
    assert one(manifests, "Service", f"demo-{part}")["metadata"]["annotations"] == {"svc": "1"}
    assert one(manifests, "ServiceAccount", f"demo-{part}")["metadata"]["annotations"] == {"role": "arn"}
    others = [each for each in of_kind(manifests, "Deployment") if each is not deployment]
    assert not [each for each in others if "priorityClassName" in each["spec"]["template"]["spec"]]


def test_names_and_labels_may_be_others() -> None:
    for settings, prefix, label in (
        (("nameOverride=cloak",), "demo-cloak", "cloak"),
        (("fullnameOverride=photos",), "photos", "facecloak"),
        (("nameOverride=cloak", "fullnameOverride=photos"), "photos", "cloak"),
    ):
        manifests = render("cpu", *settings, "commonLabels.team=photos", "commonAnnotations.owner=me")
        check(manifests)
        for each in manifests:
            assert each["metadata"]["name"].startswith(f"{prefix}-"), each["metadata"]["name"]
            assert each["metadata"]["labels"]["team"] == "photos"
            assert each["metadata"]["labels"]["app.kubernetes.io/name"] == label
            if "helm.sh/hook" not in each["metadata"].get("annotations", {}):
                assert each["metadata"]["annotations"]["owner"] == "me"
        # Whatever refers to another by name or label, follows.
        enroll = one(manifests, "Deployment", f"{prefix}-enroll")["spec"]["template"]
        (container,) = enroll["spec"]["containers"]
        assert environment(container)["FACECLOAK_ENROLL_TRITON__URL"] == f"{prefix}-triton:8001"
        deny = one(manifests, "NetworkPolicy", f"{prefix}-deny")["spec"]["podSelector"]["matchLabels"]
        assert deny.items() <= enroll["metadata"]["labels"].items()


def test_images_follow_the_release_and_may_be_pinned() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    images = {
        container["image"]
        for each in of_kind(render("gpu"), "Deployment")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    ours = "registry.example.com/facecloak/facecloak"
    assert {f"{ours}-apply:{version}", f"{ours}-enroll:{version}-gpu"} < images
    digest = "sha256:" + "ab" * 32
    pinned = one(render("cpu", f"apply.image.digest={digest}", "enroll.image.tag=v9"), "Deployment", "demo-apply")
    assert pinned["spec"]["template"]["spec"]["containers"][0]["image"] == f"{ours}-apply@{digest}"
    tagged = one(render("cpu", "enroll.image.tag=v9"), "Deployment", "demo-enroll")
    assert tagged["spec"]["template"]["spec"]["containers"][0]["image"] == f"{ours}-enroll:v9"


@pytest.mark.parametrize("part", ["apply", "enroll"])
def test_routes_lead_to_the_service(part: str) -> None:
    values = f"""
{part}:
  ingress: {{enabled: true, className: nginx, hosts: [{part}.example.com], tlsSecret: wild,
    annotations: {{nginx.ingress.kubernetes.io/backend-protocol: GRPC}}}}
  grpcRoute: {{enabled: true, parentRefs: [{{name: edge, namespace: gateways}}], hostnames: [{part}.example.com]}}
"""
    manifests = render("cpu", values=values)
    check(manifests)
    service = one(manifests, "Service", f"demo-{part}")
    port = service["spec"]["ports"][0]
    ingress = one(manifests, "Ingress", f"demo-{part}")
    assert ingress["spec"]["tls"] == [{"secretName": "wild", "hosts": [f"{part}.example.com"]}]
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": port["name"]}}
    route = one(manifests, "GRPCRoute", f"demo-{part}")
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": service["metadata"]["name"], "port": port["port"]}]}]
    assert route["spec"]["parentRefs"] == [{"name": "edge", "namespace": "gateways"}]
    assert not of_kind(render("cpu"), "Ingress", "GRPCRoute")


@pytest.mark.parametrize(
    ("setting", "api"),
    [
        ("enroll.autoscaling.kind=keda", "keda.sh/v1alpha1"),
        ("apply.grpcRoute.enabled=true", "gateway.networking.k8s.io/v1/GRPCRoute"),
        ("triton.kserve.enabled=true", "serving.kserve.io/v1alpha1"),
    ],
)
def test_what_the_cluster_lacks_is_told(setting: str, api: str) -> None:
    left = tuple(each for each in CUSTOM_APIS if each != api)
    with pytest.raises(ChartRefused, match=rf"{setting.partition('=')[0]}.* needs {api}, which this cluster lacks"):
        render("cpu", setting, apis=left)


def test_without_the_prometheus_operator_the_rest_is_installed() -> None:
    assert of_kind(render("cpu"), "PodMonitor", "PrometheusRule")
    left = render("cpu", apis=())
    assert not of_kind(left, "PodMonitor", "PrometheusRule")
    assert of_kind(left, "Deployment")


def test_a_mesh_and_other_name_servers_are_let_through() -> None:
    def ports(manifests: list[Manifest], name: str, way: str) -> set[int]:
        rules = one(manifests, "NetworkPolicy", name)["spec"][way]
        return {port["port"] for rule in rules for port in rule["ports"]}

    plain = render("cpu")
    values = """
bundledS3: {enabled: true}
network:
  mesh: {enabled: true}
  dns: {namespaceLabels: {kubernetes.io/metadata.name: openshift-dns}, ports: [5353], cidrs: [169.254.20.10/32]}
  egressPorts: [443, 7480]
  callers: {peers: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateways}}}]}
  extraEgress: [{ports: [{port: 3128, protocol: TCP}]}]
"""
    meshed = render("cpu", values=values)
    check(meshed)
    for part in PARTS:
        assert not ports(plain, f"demo-{part}", "egress") & {15008, 15012}
        assert ports(meshed, f"demo-{part}", "egress") >= {15008, 15012, 5353}
        assert 15008 in ports(meshed, f"demo-{part}", "ingress")
    assert ports(meshed, "demo-s3", "egress") >= {15008, 15012}
    assert ports(meshed, "demo-apply", "egress") >= {443, 7480, 3128}
    assert 53 not in ports(meshed, "demo-apply", "egress")
    callers = one(meshed, "NetworkPolicy", "demo-apply")["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}} in callers
    # Only the two services take the rules of callers.
    assert ports(meshed, "demo-triton", "egress") & {3128} == set()


def test_masks_on_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render("cpu", "store.volume.enabled=true", "store.endpoint=")
    check(manifests)
    claim = one(manifests, "PersistentVolumeClaim", "demo-masks")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    classes: tuple[tuple[str, type[Any]], ...] = (("apply", ApplySettings), ("enroll", EnrollSettings))
    for part, settings_class in classes:
        pod = one(manifests, "Deployment", f"demo-{part}")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "masks")
        # apply never writes masks.
        assert mount["readOnly"] is (part == "apply")
        (volume,) = (each for each in pod["volumes"] if each["name"] == "masks")
        assert volume["persistentVolumeClaim"]["claimName"] == "demo-masks"
        for name, value in environment(container).items():
            monkeypatch.setenv(name, value)
        settings = load_settings(settings_class)
        assert settings.store.url == f"file://{mount['mountPath']}"
        assert not [name for name in environment(container) if name.startswith("AWS_")]
    existing = render("cpu", "store.volume.enabled=true", "store.volume.existingClaim=mine")
    assert not of_kind(existing, "PersistentVolumeClaim")
    pod = one(existing, "Deployment", "demo-apply")["spec"]["template"]["spec"]
    assert {"name": "masks", "persistentVolumeClaim": {"claimName": "mine"}} in pod["volumes"]


def test_triton_scales_and_takes_up_changed_models() -> None:
    manifests = render("cpu", "triton.autoscaling.kind=cpu")
    check(manifests)
    scaler = one(manifests, "HorizontalPodAutoscaler", "demo-triton")
    assert scaler["spec"]["metrics"][0]["resource"]["name"] == "cpu"
    assert "replicas" not in one(manifests, "Deployment", "demo-triton")["spec"]
    by_metric = one(render("gpu", "triton.autoscaling.kind=metric"), "HorizontalPodAutoscaler", "demo-triton")
    assert by_metric["spec"]["metrics"][0]["pods"]["metric"]["name"] == "nv_gpu_utilization"
    polling = one(render("gpu", "triton.models.pollSeconds=60"), "Deployment", "demo-triton")
    arguments = polling["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--model-control-mode=poll", "--repository-poll-secs=60"} < set(arguments)


def test_triton_by_kserve() -> None:
    manifests = render("gpu", "triton.kserve.enabled=true", "triton.kserve.storageUri=s3://models/gpu")
    check(manifests)
    assert not [each for each in of_kind(manifests, "Deployment") if each["metadata"]["name"] == "demo-triton"]
    runtime = one(manifests, "ServingRuntime", "demo-triton")
    (container,) = runtime["spec"]["containers"]
    # KServe looks for these two names.
    assert container["name"] == "kserve-container"
    assert container["ports"] == [{"name": "h2c", "containerPort": 8001, "protocol": "TCP"}]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    model = one(manifests, "InferenceService", "demo-triton")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"] == {
        name: value for name, value in runtime["spec"]["supportedModelFormats"][0].items() if name != "autoSelect"
    }
    enroll = one(manifests, "Deployment", "demo-enroll")["spec"]["template"]["spec"]["containers"][0]
    assert environment(enroll)["FACECLOAK_ENROLL_TRITON__URL"] == "demo-triton-predictor.facecloak.svc:80"
    others = render("gpu", "triton.enabled=false", "triton.externalUrl=triton.ml:8001")
    enroll = one(others, "Deployment", "demo-enroll")["spec"]["template"]["spec"]["containers"][0]
    assert environment(enroll)["FACECLOAK_ENROLL_TRITON__URL"] == "triton.ml:8001"
    with pytest.raises(ChartRefused, match="storageUri is needed"):
        render("gpu", "triton.kserve.enabled=true")


def test_helm_test_asks_both_services_and_may() -> None:
    manifests = render("cpu")
    pod = one(manifests, "Pod", "demo-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    asked = pod["spec"]["containers"][0]["args"][0]
    assert "demo-enroll:50061" in asked
    assert "--target demo-apply:50062" in asked
    for part in ("apply", "enroll"):
        callers = one(manifests, "NetworkPolicy", f"demo-{part}")["spec"]["ingress"][0]["from"]
        selectors = [each["podSelector"]["matchLabels"].items() for each in callers if "podSelector" in each]
        assert [each for each in selectors if each <= pod["metadata"]["labels"].items()]
    assert not of_kind(render("cpu", "tests.enabled=false"), "Pod")
    secured = render("cpu", "tls.secret=certificates", "tls.mutual=true", "insecureListen=false")
    check(secured)
    pod = one(secured, "Pod", "demo-test")
    assert 'connect="--tls --cert /tls/tls.crt --key /tls/tls.key"' in pod["spec"]["containers"][0]["args"][0]
    assert pod["spec"]["volumes"][-1]["secret"]["secretName"] == "certificates"


def test_more_objects_belong_to_the_release() -> None:
    values = """
extraObjects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .Release.Name }}-ca"}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: text}
    data: {version: {{ .Chart.AppVersion | quote }}}
"""
    manifests = render("laptop", values=values)
    check(manifests)
    assert one(manifests, "ConfigMap", "demo-ca")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert one(manifests, "ConfigMap", "text")["data"] == {"version": version}
