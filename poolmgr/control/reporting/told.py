"""History for programs: each period with its figures by name, the same in JSON, in CSV and in a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from poolmgr.control.reporting.past import Past
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.periods import COUNTS, Period

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_GAUGES = ("processes", "used", "used_most", "idle", "capacity", "pending", "pending_most", "full")
#: Names of a period's figures, in their order.
FIGURES = (
    *_GAUGES,
    "seconds",
    *COUNTS,
    *(f"{time}_{quantile}" for time in ("wait", "use", "create") for quantile in QUANTILES),
    "server_used",
    "server_ours",
    "server_most",
)


def as_document(past: Past) -> dict[str, Any]:
    """Moments are in seconds since the epoch, durations in seconds; what nobody measured is null."""
    return {
        "target": past.target,
        "role": past.role or None,
        "from": round(past.begin, 3),
        "to": round(past.end, 3),
        "step": past.step,
        "periods": [{"at": period.at, **figures(period)} for period in past.periods],
    }


def figures(period: Period) -> dict[str, float | None]:
    """Under the names of ``FIGURES``."""
    slots = period.slots
    counted = period.seconds is not None
    return {
        **{name: _short(getattr(period, name)) if period.looks else None for name in _GAUGES},
        "seconds": _short(period.seconds),
        **{name: getattr(period, name) if counted else None for name in COUNTS},
        **_quantiles("wait", period.wait),
        **_quantiles("use", period.use),
        **_quantiles("create", period.create),
        "server_used": slots.used if slots else None,
        "server_ours": slots.ours if slots else None,
        "server_most": slots.most if slots else None,
    }


def iso(seconds: float) -> str:
    """UTC in ISO 8601, as a spreadsheet has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _quantiles(name: str, times: Distribution) -> dict[str, float | None]:
    return {f"{name}_{each}": significant(times.quantile(q)) for each, q in QUANTILES.items()}


def significant(seconds: float | None) -> float | None:
    """To four digits: what a histogram can tell is less exact still."""
    return None if seconds is None else float(f"{seconds:.4g}")


def _short(value: float | None) -> float | None:
    return round(value, 2) if isinstance(value, float) else value
