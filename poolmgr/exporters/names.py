"""What is told of pools, by the names of OpenTelemetry's conventions for database client pools, and ours beside them.

Both exporters tell these: OpenTelemetry's under the names as they are here, Prometheus' as its own exporters would put them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from poolmgr.metrics.snapshot import PoolSnapshot

PREFIX = "db.client.connection."
#: The attributes of the conventions, and that of a pin.
TARGET, STATE, REASON = f"{PREFIX}pool.name", f"{PREFIX}state", "reason"
#: The states of the conventions, by the names of a snapshot's fields.
STATES = ("idle", "used")


@dataclass(frozen=True, slots=True)
class Gauge:
    """``read`` gives its value of one pool; those of several are put ``together``. Units are UCUM's."""

    name: str
    unit: str
    text: str
    together: Callable[[Iterable[float]], float]
    read: Callable[[PoolSnapshot], float]


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter or a histogram of seconds; ``field`` is what a total calls it."""

    name: str
    unit: str
    text: str
    field: str


COUNT = ("count", "{connection}", "Connections of the pools by state.")
PINS = ("pins", "{return}", "Returns of connections that session state had pinned, by reason.")

GAUGES = (
    Gauge("idle.min", "{connection}", "The fewest connections that are kept warm.", sum, lambda pool: pool.min_size),
    Gauge("idle.max", "{connection}", "The most idle connections allowed.", sum, lambda pool: pool.limit),
    Gauge("max", "{connection}", "The most connections that the pools may hold now.", sum, lambda pool: pool.limit),
    Gauge("pending_requests", "{request}", "Requests that wait for a connection.", sum, lambda pool: pool.pending),
    Gauge("oldest_wait", "s", "How long the first of those who wait has waited.", max, lambda pool: pool.oldest_wait),
    Gauge(
        "closing",
        "{connection}",
        "Connections given up and not yet gone from the server.",
        sum,
        lambda pool: pool.closing,
    ),
)
COUNTERS = (
    Counted("checkouts", "{checkout}", "Checkouts that got a connection.", "checkouts"),
    Counted(
        "checkout_errors",
        "{checkout}",
        "Checkouts that failed by something else than their timeout.",
        "checkout_errors",
    ),
    Counted("timeouts", "{timeout}", "Checkouts that found no connection in time.", "timeouts"),
    Counted("refused_transactions", "{transaction}", "Transactions that statement mode refused.", "refused"),
    Counted("created", "{connection}", "Connections opened.", "created"),
    Counted("create_errors", "{connection}", "Connects that failed.", "create_errors"),
    Counted("closed", "{connection}", "Connections closed.", "closed"),
    Counted("found_dead", "{connection}", "Connections found dead before a checkout.", "found_dead"),
    Counted("left_behind", "{connection}", "Connections not seen to go from the server in time.", "left_behind"),
    Counted("cleaned", "{connection}", "Connections cleaned of session state.", "cleaned"),
    Counted("reclaimed", "{connection}", "Connections whose thread ended or outlived its request.", "reclaimed"),
    Counted("leaks", "{connection}", "Connections that were in use for longer than leak_threshold.", "leaks"),
)
HISTOGRAMS = (
    Counted("wait_time", "s", "From asking for a connection to getting it, or to the timeout.", "wait_time"),
    Counted("use_time", "s", "From getting a connection to returning it.", "use_time"),
    Counted("create_time", "s", "From the start of a connect to its end.", "create_time"),
)


def _mean(name: str, text: str) -> Counted:
    return Counted(f"{name}_time_mean", "s", f"{text}: the mean of the last minute, where no more is told.", name)


#: Of servers that keep their own pools; the field is that of a snapshot's means.
MEANS = (_mean("wait", "From asking for a connection to getting it"), _mean("use", "Of a transaction"))
