"""Which metrics the services export, read from the services' own code."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from apply_service.cache import MaskCache
from apply_service.metrics import ApplyMetrics
from enroll_service.metrics import EnrollMetrics, watch_queue
from facecloak_rpc.metrics import RpcMetrics
from facecloak_rpc.telemetry import Telemetry

_SERIES: dict[str, dict[str, tuple[str, ...]]] = {
    "counter": {"_total": ()}, "gauge": {"": ()}, "info": {"_info": ("version",)},
    "histogram": {"_bucket": ("le",), "_count": (), "_sum": ()},
}  # fmt: skip


class Recording(CollectorRegistry):
    """A registry that remembers what was registered, whether it has samples yet or not."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[MetricWrapperBase] = []

    def register(self, collector: Collector) -> None:
        """See CollectorRegistry."""
        super().register(collector)
        if isinstance(collector, MetricWrapperBase):
            self.metrics.append(collector)


def families() -> list[MetricWrapperBase]:
    """Every metric of both services, by name. A test holds the running services to this."""
    registry = Recording()
    RpcMetrics(registry)
    Telemetry(registry)
    EnrollMetrics(registry)
    watch_queue(registry, waiting=lambda: 0, running=lambda: 0)
    ApplyMetrics(registry)
    MaskCache.count_lookups(registry)
    return sorted(registry.metrics, key=lambda metric: described(metric).name)


def described(metric: MetricWrapperBase) -> Metric:
    """The metric as it is exported."""
    return next(iter(metric.describe()))


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    """The metric's label names; prometheus-client has no public way to ask."""
    return tuple(metric._labelnames)


def exported() -> dict[str, set[str]]:
    """Series name -> its labels, as Prometheus sees them."""
    series = {}
    for metric in families():
        family = described(metric)
        for suffix, more in _SERIES[family.type].items():
            series[family.name + suffix] = {*labels_of(metric), *more}
    return series
