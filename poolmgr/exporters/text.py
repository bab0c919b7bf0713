"""Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


def head(name: str, kind: str, text: str) -> Iterable[str]:
    """What comes before the series of a metric; ``kind`` is gauge, counter or histogram."""
    return (f"# HELP {name} {text}", f"# TYPE {name} {kind}")


def line(name: str, labels: Labels, value: float) -> str:
    """One series."""
    told = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{told}}} {value:.17g}"


def gauge(name: str, text: str, series: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """A metric with all its series."""
    yield from head(name, "gauge", text)
    yield from (line(name, labels, value) for labels, value in series)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
