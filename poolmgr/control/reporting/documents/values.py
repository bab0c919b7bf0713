"""Values as the documents have them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from poolmgr.metrics.health import Verdict
from poolmgr.metrics.histogram import Distribution


def above(value: float) -> float | None:
    """A figure of which 0 says that there is none."""
    return value or None


def text(value: str) -> str | None:
    return value or None


def moment(at: datetime | None) -> float | None:
    """In seconds since the epoch, to the millisecond."""
    return round(at.timestamp(), 3) if at else None


def verdict(found: Verdict) -> dict[str, Any]:
    """``code`` names the rule, to which there may be advice; None for what no rule says."""
    return {"state": found.state, "code": text(found.code), "message": found.sentence}


def times(spread: Distribution, mean: float | None = None) -> dict[str, Any]:
    """Quantiles in seconds, and of how many; ``mean`` alone of a server that tells no more."""
    if mean is not None:
        return {"count": None, "mean": mean, "p50": None, "p95": None, "p99": None}
    told = {f"p{percent}": _to_the_microsecond(spread.quantile(percent / 100)) for percent in (50, 95, 99)}
    return {"count": spread.count, "mean": _to_the_microsecond(spread.mean), **told}


def _to_the_microsecond(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
