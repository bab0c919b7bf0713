"""What the exporters tell stands in the documents, by its name."""

import re
from itertools import chain
from pathlib import Path

from poolmgr.exporters import judged, prometheus
from poolmgr.exporters.names import COUNT, COUNTERS, GAUGES, HISTOGRAMS, MEANS, PINS, PREFIX

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
EVERY = [COUNT[0], PINS[0], *(each.name for each in chain(GAUGES, COUNTERS, HISTOGRAMS, MEANS))]


def test_every_metric_of_opentelemetry_stands_in_the_documents() -> None:
    _, _, told = DOCUMENT.partition("## OpenTelemetry")
    for name in EVERY:
        assert f"`{PREFIX}{name}`" in told or f"`.{name}`" in told, name


def test_every_metric_of_the_page_stands_in_the_documents() -> None:
    told, _, _ = DOCUMENT.partition("## OpenTelemetry")
    for name in EVERY:
        ours = name.replace(".", "_")
        assert re.search(rf"`(db_client_connection)?_{ours}(_seconds)?(_total)?`", told), name
    sources = "".join(Path(module.__file__ or "").read_text() for module in (judged, prometheus))
    for name in {*re.findall(r'"(poolmgr_\w+)"', sources)}:
        assert f"`{name}`" in told, name
