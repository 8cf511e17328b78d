"""What the Pod Security Standard *restricted* refuses: the rules of pod-security-admission, read from a manifest.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (the fields of Linux pods).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip


def violations(pod: dict[str, Any]) -> list[str]:
    """What a namespace that enforces *restricted* would say of this pod specification; empty: it is admitted."""
    return [*_of_pod(pod), *(fault for container in _containers(pod) for fault in _of_container(container, pod))]


def _containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(name, [])


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes", []):
        for kind in set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    security = pod.get("securityContext", {})
    for sysctl in security.get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_both(security, "pod")


def _of_both(security: dict[str, Any], name: str) -> Iterator[str]:
    if security.get("runAsUser") == 0:
        yield f"{name}: runAsUser 0"
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name}: hostProcess"
    if security.get("seLinuxOptions", {}).keys() & {"user", "role"}:
        yield f"{name}: seLinuxOptions"
    if security.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{name}: appArmorProfile"


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    name, security, of_pod = container["name"], container.get("securityContext", {}), pod.get("securityContext", {})
    yield from _of_both(security, name)
    if security.get("privileged"):
        yield f"{name}: privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    if not security.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
        yield f"{name}: runAsNonRoot"
    if security.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type") not in (
        "RuntimeDefault",
        "Localhost",
    ):
        yield f"{name}: seccompProfile"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name}: capabilities not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities added"
    if security.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name}: hostPort"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for way in ("httpGet", "tcpSocket"):
            if container.get(probe, {}).get(way, {}).get("host"):
                yield f"{name}: {probe} of another host"
