"""OpenTelemetry's own SDK, which reads this process's pools when a test asks."""

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from poolmgr.exporters.opentelemetry import Telemetry
from poolmgr.identity import role

PREFIX = "db.client.connection."
STATE = f"{PREFIX}state"


class Collector:
    """`metrics()` makes a collection, and gives what it found by their names without the prefix."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(self.provider.get_meter("poolmgr"))

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for of in data.resource_metrics for scope in of.scope_metrics] if data else []
        return {each.name.removeprefix(PREFIX): each for scope in scopes for each in scope.metrics}

    def points(self, metrics: dict[str, Any], name: str, **more: str) -> Iterator[Any]:
        """Those of the target, with these attributes beside the usual ones and no others."""
        wanted = {f"{PREFIX}pool.name": self.target, "role": role(), **more}
        for point in metrics[name].data.data_points if name in metrics else ():
            if dict(point.attributes) == wanted:
                yield point

    def value(self, metrics: dict[str, Any], name: str, **more: str) -> Any:
        [point] = self.points(metrics, name, **more)
        return point.value

    def close(self) -> None:
        self.provider.shutdown()
