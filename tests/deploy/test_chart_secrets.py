"""What the chart does about keys, the audit log, erasing, and metrics by TLS."""

from __future__ import annotations

from typing import Any

import pytest

from apply_service.settings import ApplySettings
from deploy.tools.chart import ChartRefused, Manifest, render
from enroll_service.settings import EnrollSettings
from facecloak_rpc.command import load_settings
from tests.deploy.test_chart import environment, of_kind
from tests.deploy.test_chart_options import check, one

CLASSES: tuple[tuple[str, type[Any]], ...] = (("apply", ApplySettings), ("enroll", EnrollSettings))
TRANSIT = (
    "store.keyServer.kind=transit", "store.keyServer.url=https://vault.example:8200",
    "store.keyServer.keys={masks,old}", "store.keyServer.tokenSecret=vault-token",
    "store.keyServer.namespace=photos", "store.maskKeySecret=",
)  # fmt: skip
KMS = ("store.keyServer.kind=kms", "store.keyServer.url=https://kms.example", "store.keyServer.keys={alias/masks}")


def pod_of(workload: Manifest) -> dict[str, Any]:
    spec = workload["spec"]
    return dict((spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec)["template"]["spec"])


def settings_of(workload: Manifest, settings_class: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As the container reads them; a secret's variables hold a key."""
    (container,) = pod_of(workload)["containers"]
    with monkeypatch.context() as patch:
        # Of enroll's image.
        patch.setenv("FACECLOAK_ENROLL_HOST", "0.0.0.0")
        for name, value in environment(container).items():
            patch.setenv(name, value)
        return load_settings(settings_class)


def mounts_of(workload: Manifest) -> dict[str, str]:
    """Path -> the volume's source."""
    pod = pod_of(workload)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (container,) = pod["containers"]
    found = {}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        claim, secret = volume.get("persistentVolumeClaim", {}), volume.get("secret", {})
        found[mount["mountPath"]] = claim.get("claimName") or secret.get("secretName") or ""
    return found


def test_keys_may_stay_in_a_key_server(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render("cpu", *TRANSIT, "eraseExpired.enabled=true")
    check(manifests)
    for part, settings_class in (*CLASSES, ("erase-expired", EnrollSettings)):
        workload = one(manifests, "CronJob" if part == "erase-expired" else "Deployment", f"demo-{part}")
        store = settings_of(workload, settings_class, monkeypatch).store
        assert store.key is None
        server = store.key_server
        assert (server.kind, server.url, server.keys) == ("transit", "https://vault.example:8200", ("masks", "old"))
        assert (server.mount, server.namespace, str(server.token_file)) == ("transit", "photos", "/key-server/token")
        assert mounts_of(workload)["/key-server"] == "vault-token"
    manifests = render("cpu", *KMS)
    for part, settings_class in CLASSES:
        workload = one(manifests, "Deployment", f"demo-{part}")
        store = settings_of(workload, settings_class, monkeypatch).store
        assert (store.key_server.kind, store.key_server.region) == ("kms", "us-east-1")
        assert store.key is not None, "what it sealed is read still"
        assert "/key-server" not in mounts_of(workload)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("store.maskKeySecret=",), r"store\.keyServer is needed"),
        (("store.keyServer.kind=transit", "store.keyServer.keys={a}"), r"store\.keyServer\.url is needed"),
        ((*KMS[:2],), r"store\.keyServer\.keys is needed"),
        (TRANSIT[:3], r"tokenSecret is needed"),
        (("store.keyServer.kind=hsm",), "kind"),
        (("store.keyServer.kind=kms", "store.keyServer.url=http://kms"), "url"),
    ],
)
def test_a_key_server_that_cannot_be_reached_is_refused(settings: tuple[str, ...], told: str) -> None:
    with pytest.raises(ChartRefused, match=told):
        render("cpu", *settings)


def test_the_audit_log_is_on_a_volume_of_all_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render("cpu", "audit.enabled=true", "eraseExpired.enabled=true")
    check(manifests)
    claim = one(manifests, "PersistentVolumeClaim", "demo-audit")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for part, settings_class in (*CLASSES, ("erase-expired", EnrollSettings)):
        workload = one(manifests, "CronJob" if part == "erase-expired" else "Deployment", f"demo-{part}")
        folder = settings_of(workload, settings_class, monkeypatch).audit.folder
        assert mounts_of(workload)[str(folder)] == "demo-audit"
    existing = render("cpu", "audit.enabled=true", "audit.existingClaim=mine", "store.volume.enabled=true")
    assert [claim["metadata"]["name"] for claim in of_kind(existing, "PersistentVolumeClaim")] == ["demo-masks"]
    assert mounts_of(one(existing, "Deployment", "demo-enroll"))["/audit"] == "mine"
    plain = render("cpu")
    for part, settings_class in CLASSES:
        assert settings_of(one(plain, "Deployment", f"demo-{part}"), settings_class, monkeypatch).audit.folder is None


def test_expired_masks_are_erased_by_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not of_kind(render("cpu"), "CronJob")
    values = """
enroll:
  settings: {STORE__S3_CALL_SECONDS: "7", WORKERS: "3", IDENTITY__JWKS: /keys.json}
  extraEnv: [{name: SSL_CERT_FILE, value: /ca/ca.crt}]
  extraVolumes: [{name: ca, configMap: {name: ca}}]
  extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}]
"""
    chosen = ("network.enabled=true", "eraseExpired.enabled=true", "eraseExpired.schedule=0 4 * * 0")
    manifests = render("laptop", *chosen, values=values)
    check(manifests)
    job = one(manifests, "CronJob", "demo-erase-expired")
    assert job["spec"]["schedule"] == "0 4 * * 0"
    (container,) = pod_of(job)["containers"]
    assert container["command"][:2] == ["facecloak", "erase-expired"]
    enroll = one(manifests, "Deployment", "demo-enroll")
    settings, served = (settings_of(one_of, EnrollSettings, monkeypatch) for one_of in (job, _without_jwks(enroll)))
    assert settings.store == served.store
    assert settings.store.s3_call_seconds == 7
    assert environment(container)["SSL_CERT_FILE"] == "/ca/ca.crt"
    assert "/ca" in mounts_of(job)
    # It reaches the S3 server, and nobody reaches it.
    policies = {one_of["metadata"]["name"]: one_of["spec"] for one_of in of_kind(manifests, "NetworkPolicy")}
    own = policies["demo-erase-expired"]
    assert own["policyTypes"] == ["Ingress", "Egress"]
    assert not own.get("ingress")
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    callers = [peer["podSelector"]["matchLabels"] for peer in policies["demo-s3"]["ingress"][0]["from"]]
    assert any(caller.items() <= labels.items() for caller in callers)


def _without_jwks(workload: Manifest) -> Manifest:
    (container,) = pod_of(workload)["containers"]
    container["env"] = [one_of for one_of in container["env"] if not one_of["name"].endswith("JWKS")]
    return workload


def test_metrics_by_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    values = "monitoring: {enabled: true, tlsConfig: {ca: {secret: {name: facecloak-tls, key: ca.crt}}}}"
    manifests = render("cpu", "tls.secret=facecloak-tls", "tls.metrics=true", "insecureListen=true", values=values)
    check(manifests)
    for part, settings_class in CLASSES:
        workload = one(manifests, "Deployment", f"demo-{part}")
        assert settings_of(workload, settings_class, monkeypatch).metrics_tls
        (container,) = pod_of(workload)["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["scheme"] == "HTTPS"
        (endpoint,) = one(manifests, "PodMonitor", f"demo-{part}")["spec"]["podMetricsEndpoints"]
        assert endpoint["scheme"] == "https"
        assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == "facecloak-tls"
    (triton,) = one(manifests, "PodMonitor", "demo-triton")["spec"]["podMetricsEndpoints"]
    assert "scheme" not in triton
    assert "metrics_tls=True" not in str(
        settings_of(one(render("cpu"), "Deployment", "demo-apply"), ApplySettings, monkeypatch)
    )
