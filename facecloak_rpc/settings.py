"""Settings that both servers have, and printing them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from facecloak_rpc.addresses import bare_host, is_loopback
from facecloak_rpc.audit import AuditSettings
from facecloak_rpc.caller_limits import CallerLimitSettings
from facecloak_rpc.identity.settings import IdentitySettings
from facecloak_rpc.logging import LogFormat, LogLevel
from facecloak_rpc.tls import TlsSettings


class RpcSettings(BaseSettings):
    """Base of a server's settings. A subclass gives the environment prefix and its own fields."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_nested_delimiter="__",
        # A variable that is set to nothing, as a compose file's ${NAME:-} does, is not set.
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        extra="ignore",
    )

    host: str = "127.0.0.1"
    """Address to listen on, IPv6 with or without brackets; 0.0.0.0 and :: both mean all addresses of both families. The
    default is localhost; any other address needs TLS and a way to tell callers apart, or insecure_listen."""

    port: int = Field(default=0, ge=0, le=65535)
    """TCP port to listen on; 0 takes a free one, which the log names."""

    tls: TlsSettings = TlsSettings()
    """The server's certificate and who may connect; fields as ..._TLS__<FIELD>."""

    identity: IdentitySettings = IdentitySettings()
    """Who is who, and may do what; fields as ..._IDENTITY__<FIELD>."""

    caller_limits: CallerLimitSettings = CallerLimitSettings()
    """Limits by caller; fields as ..._CALLER_LIMITS__<FIELD>."""

    audit: AuditSettings = AuditSettings()
    """The audit log; fields as ..._AUDIT__<FIELD>."""

    insecure_listen: bool = False
    """Listen beyond localhost without TLS, or to callers who need not prove who they are. Only where something else
    takes care of both: a network with nothing but your pipeline on it, or a mesh or proxy with mutual TLS."""

    reflection: bool = True
    """Whether gRPC reflection tells callers what the service offers. Where callers have to prove who they are, only
    those who do are told. Health is told to anyone who can connect."""

    message_mebibytes_limit: int = Field(default=64, ge=1, le=1024)
    """Largest message in either direction, MiB. 64 holds a 48-megapixel photo; gRPC's own default of 4 rejects 12."""

    concurrent_calls_limit: int = Field(default=128, ge=1)
    """Most calls open at once, waiting ones included, each with a thread; more are refused with OVERLOADED before
    their message is read. Probes do not count. Keep it well above the service's own limits; one that waits costs
    little."""

    connection_calls_limit: int = Field(default=100, ge=1)
    """Most calls open at once on one connection; more are refused with OVERLOADED. 100 is the least that HTTP/2 asks
    for (RFC 9113, section 6.5.2), and below concurrent_calls_limit: no client alone takes all."""

    message_seconds: float = Field(default=10.0, gt=0)
    """Time for a call's message to come in, seconds; then it ends with REQUEST_INCOMPLETE. 32 MiB take 10 s at 27
    Mbit/s. While others wait for their turn to be read, a message has one second."""

    answer_seconds: float = Field(default=30.0, gt=0)
    """Time for a caller to take an answer, seconds; then its call is cancelled. 32 MiB take 30 s at 9 Mbit/s. While
    others wait for the memory that answers hold, an answer has five seconds."""

    connections_limit: int = Field(default=1024, ge=1)
    """Most connections at once; more are closed as they come. Each takes about 100 KB, and a file descriptor."""

    connection_idle_seconds: float = Field(default=300.0, gt=0)
    """A connection without a call for this long, seconds, is closed: its place is for others. gRPC clients connect
    again by themselves."""

    reading_limit: int = Field(default=8, ge=2, le=1024)
    """Messages that come in at once, half of them of one connection; more wait for their turn, then are refused with
    OVERLOADED. Until a message is whole, its size is unknown: memory for reading is this times the largest one."""

    isolate_decoders: bool = True
    """Whether photos are decoded in processes of their own, which have limits on memory and processor time and are
    killed when nobody waits for the photo any more. JPEGs that are changed without decoding them whole are not: that
    work is bounded by what their headers state. Needs Linux."""

    keepalive_seconds: float = Field(default=30.0, gt=0)
    """Pings an idle connection this often, seconds, to notice a client that vanished without closing. Cloud load
    balancers drop connections that are silent for a minute and more; 30 stays below."""

    keepalive_timeout_seconds: float = Field(default=10.0, gt=0)
    """Drops a connection when a ping is not answered for this long, seconds: half of gRPC's own 20, and still far
    longer than a mobile network's worst round trip."""

    connection_age_seconds: float = Field(default=0.0, ge=0)
    """Asks a client to reconnect after this long, seconds, once its calls are done, so that clients find servers that
    were added later. 0: never, except after 20 s where several processes of apply share the port, so that a restarted
    one gets its share again. Where several servers are behind one name, 300 is a good start."""

    grace_seconds: float = Field(default=30.0, ge=0)
    """Time that calls in flight get to finish after SIGTERM, seconds. 30 is what Kubernetes gives a pod by default."""

    readiness_seconds: float = Field(default=15.0, gt=0)
    """Time between two checks of what the service depends on, seconds; the health service answers by the last one. A
    check runs each model once, so do not make it needlessly frequent."""

    http_port: int = Field(default=0, ge=0, le=65535)
    """Port of HTTP on the same host, for callers without gRPC: JSON by the Connect protocol, with the same TLS,
    identities and limits. 0 turns it off."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of HTTP on the same host: /metrics for Prometheus; /livez and /readyz for probes, which no load on gRPC
    holds up. 0 turns it off."""

    metrics: bool = True
    """Whether /metrics is served on that port; false keeps only the probes."""

    metrics_tls: bool = False
    """Whether that port speaks HTTPS, with the certificate of tls. Where callers need a certificate (tls client_ca),
    /metrics asks for one as well; the probes do not."""

    trace_endpoint: str = Field(default="", pattern=r"^(https?://[^\s/]+)?$")
    """OpenTelemetry collector that takes OTLP over gRPC, such as http://collector:4317; empty: no traces. Needs the
    extra `otel`."""

    trace_share: float = Field(default=1.0, ge=0, le=1)
    """Share of traces that are recorded, among those not begun by a caller; a caller's own decision is followed."""

    log_format: LogFormat = "json"
    """json (one object a line) or console."""

    log_level: LogLevel = "info"
    """Least important level that is logged."""

    @field_validator("host")
    @classmethod
    def _bare_host(cls, host: str) -> str:
        return bare_host(host)

    @model_validator(mode="after")
    def _ports_differ(self) -> RpcSettings:
        ports = [port for port in (self.port, self.http_port, self.metrics_port) if port]
        if len(set(ports)) < len(ports):
            raise ValueError("port, http_port and metrics_port must differ")
        return self

    @model_validator(mode="after")
    def _listens_safely(self) -> RpcSettings:
        if not is_loopback(self.host) and not self.is_protected and not self.insecure_listen:
            raise ValueError(
                "host is reached by other machines: set tls with a client_ca or with identity jwks, or insecure_listen "
                "where something else protects the port"
            )
        return self

    @model_validator(mode="after")
    def _metrics_have_a_certificate(self) -> RpcSettings:
        if self.metrics_tls and not self.tls.is_on:
            raise ValueError("metrics_tls needs tls certificate and key")
        return self

    @property
    def is_protected(self) -> bool:
        """Whether calls travel by TLS and callers prove who they are."""
        return self.tls.is_mutual or (self.tls.is_on and bool(self.identity.jwks))

    @model_validator(mode="after")
    def _callers_can_prove_it(self) -> RpcSettings:
        if self.identity.is_on and not self.identity.jwks and not self.tls.is_mutual:
            raise ValueError("identity callers need a way to prove who they are: tls client_ca, or identity jwks")
        return self

    @property
    def message_bytes_limit(self) -> int:
        """Largest message, bytes."""
        return self.message_mebibytes_limit * 1024 * 1024


def describe(settings: RpcSettings) -> str:
    """Returns the settings as lines of ``ENVIRONMENT_NAME=value`` below what each means; secrets are withheld."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    return "\n".join(_lines(settings, prefix)) + "\n"


def _lines(model: BaseModel, prefix: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            lines += _lines(value, f"{prefix}{name.upper()}__")
            continue
        lines += [f"# {line}" for line in (field.description or "").splitlines()]
        lines.append(f"{prefix}{name.upper()}={_text(value)}")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "<set>"
    if value is None:
        return ""
    if isinstance(value, tuple | list | dict):
        return json.dumps(value, default=str)
    return str(value)
