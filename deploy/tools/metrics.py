"""Which metrics the services export, read from the services' own code."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from apply_service.cache import MaskCache
from apply_service.metrics import ApplyMetrics
from enroll_service.metrics import EnrollMetrics, watch_queue
from facecloak_rpc.metrics import RpcMetrics
from facecloak_rpc.telemetry import Telemetry

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}


def families() -> list[MetricWrapperBase]:
    """Every metric of both services, in the order of their names."""
