"""The dashboard and the alerts in contrib, on a real Prometheus that scrapes real pools: nothing asks for what isn't told."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolmgr import tasks
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.fleet import read_fleet
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.prometheus import Prometheus, program, promtool, scraping

from .control_fleet import TestFleet, wait_for
from .serving import ROOT, gunicorn, served

pytestmark = pytest.mark.long
CONTRIB = ROOT / "contrib"
ALERTS, DASHBOARD = CONTRIB / "prometheus/alerts.yml", CONTRIB / "grafana/poolmgr.json"
TOKEN = "a token for scrapers"
#: What Grafana puts in.
VARIABLES = {"$__rate_interval": "30s", "$target": ".*", "$role": ".*"}
SELECTOR = re.compile(r"\b((?:db_client_connection|poolmgr)_\w+)(?:\{([^}]*)\})?")
#: Labels of the page's metrics, which look like names of metrics.
LABELS = {"db_client_connection_pool_name", "db_client_connection_state"}
#: What promtool would have named otherwise, and why it isn't: the conventions' own name of a gauge.
NAMED_SO = 'db_client_connection_count non-histogram and non-summary metrics should not have "_count" suffix'


def queries() -> list[str]:
    """Every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def rules() -> list[str]:
    """Every query of the alerts, each in one line."""
    found = re.findall(r"^ +expr: (.*(?:\n {10}\S.*)*)", ALERTS.read_text(), re.MULTILINE)
    return [" ".join(each.removeprefix(">-").split()) for each in found]


def filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


# -- without a server ----------------------------------------------------------------------------------------------------


def test_promtool_finds_nothing_wrong_with_the_alerts_and_each_fires_when_it_should() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(ALERTS.with_name("alerts_test.yml")))
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    tested = re.findall(r"alertname: (\w+)", ALERTS.with_name("alerts_test.yml").read_text())
    assert {*names} == {*tested}
    # Once where it is quiet, once where it fires.
    assert len(tested) == 2 * len(names) == 2 * len(rules())


def test_every_alert_says_what_to_do_and_leads_to_a_verdict_that_there_is() -> None:
    parts = ALERTS.read_text().split("- alert: ")[1:]
    assert parts
    for part in parts:
        for needed in ("for:", "severity:", "summary:", "description:", "runbook_url:"):
            assert needed in part, part
        [where] = re.findall(r'runbook_url: "\{\{ \$externalLabels\.poolmgr_site \}\}/pools/(.*)"', part)
        code = where.removeprefix("help/").removesuffix("/")
        assert code in ({*ADVICE, "{{ $labels.code }}"} if where else {""}), part


def test_the_dashboard_s_panels_have_names_and_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


# -- on a fleet ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(
    transactional_db: None, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, settings: Any, tmp_path: Path
) -> Iterator[str]:
    """The address of the page of a fleet at work: full pools with a budget, pins, and a health check."""
    poolmgr = {
        "NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 1.0, "METRICS_TOKEN": TOKEN,
        "REDIS_URL": redis_server.url(),
    }  # fmt: skip
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    fleet = TestFleet(postgres, poolmgr)
    fleet.environment["TEST_POOL"] = json.dumps({"min_size": 1, "max_size": 3, "budget": 40})
    try:
        with served(gunicorn("poolsite.wsgi:application"), fleet.environment, tmp_path / "site.log") as address:
            fleet.start(1, POOLMGR_ROLE="web", TEST_THREADS="6", TEST_SLEEP="0.05")
            fleet.start(1, POOLMGR_ROLE="worker", TEST_FIRST="SET statement_timeout = '60s'")
            wait_for(lambda: len(read_fleet().processes) >= 2)
            assert tasks.check_target("default").startswith("default is ok")
            yield f"{address}/pools/metrics"
    finally:
        fleet.stop()


@pytest.fixture
def prometheus(page: str, tmp_path: Path) -> Iterator[Prometheus]:
    with scraping(page, TOKEN, ALERTS, tmp_path) as made:
        # Rates take two scrapes of every counter.
        last = "sum(rate(db_client_connection_pins_total[30s])) > 0 and sum(rate(db_client_connection_use_time_seconds_count[30s])) > 0"
        wait_for(lambda: made.series(last), 30)
        yield made


def scraped(page: str) -> str:
    asked = urllib.request.Request(page, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return str(answer.read().decode())


def told(text: str) -> dict[str, set[str]]:
    """The labels of each metric of a page."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels))
    return found


def test_promtool_finds_nothing_wrong_with_the_page(page: str) -> None:
    text = scraped(page)
    assert "db_client_connection_wait_time_seconds_bucket" in text
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if line != NAMED_SO] == []


def test_no_query_names_a_metric_or_a_label_that_the_page_does_not_have(page: str) -> None:
    wait_for(lambda: "db_client_connection_pins_total{" in scraped(page))
    there = told(scraped(page))
    for query in [*queries(), *rules()]:
        selectors = [(name, inside) for name, inside in SELECTOR.findall(query) if name not in LABELS]
        assert selectors, query
        labels = set().union(*(there.get(name, set()) for name, _ in selectors))
        for name, inside in selectors:
            assert name in there, query
            assert {*re.findall(r"(\w+)(?:=~|!=|!~|=)", inside)} <= there[name], query
        for by in re.findall(r"by \(([^)]*)\)", query):
            assert {*re.split(r", *", by)} <= labels, query


def test_every_query_of_the_dashboard_and_the_alerts_gives_series(prometheus: Prometheus) -> None:
    for query in queries():
        assert prometheus.series(filled(query)), query
    for rule in rules():
        # What is compared must be there: the comparison is false as long as all is well.
        for part in re.split(r"\b(?:and|or)\b", rule):
            compared = re.sub(r"(?:[<>]=?|==) *[\d.]+", "", part)
            assert prometheus.series(compared), rule


def test_the_alerts_are_loaded_and_evaluated(prometheus: Prometheus) -> None:
    def evaluated() -> list[Any]:
        [group] = prometheus.ask("rules")["groups"]
        return [rule for rule in group["rules"] if rule["health"] != "unknown"]

    found = wait_for(lambda: len(seen := evaluated()) == len(rules()) and seen, 30)
    assert {rule["health"] for rule in found} == {"ok"}, [rule.get("lastError") for rule in found]
