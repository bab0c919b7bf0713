"""The page for Prometheus: who may read it, and that what it says is what the pools say."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from msgspec.structs import replace

from poolmgr.conf import conf
from poolmgr.control.store import get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.tally import Tally
from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import host
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat

from .console import beat, own_fleet, own_pool, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-for-scrapers"
LINE = re.compile(r'[a-z_]+\{([a-z_]+="([^"\\\n]|\\.)*"(,|(?=\})))*\} [0-9.e+-]+')


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "METRICS_TOKEN": TOKEN}


def scrape(token: str = TOKEN) -> Any:
    return Client().get("/pools/metrics", headers={"Authorization": f"Bearer {token}"})


def value(text: str, start: str) -> float:
    [found] = [line for line in text.splitlines() if line.startswith(start)]
    return float(found.rsplit(" ", 1)[1])


def tell(*pools: Any, uid: str = "a", role: str = "web") -> None:
    """As an agent does with its beat."""
    Tally().tell(get_store(), uid, role, {pool: pool.snapshot() for pool in pools or (own_pool(),)})


def test_every_figure_is_there_under_opentelemetrys_names_by_target_and_role() -> None:
    connection.close()
    with own_pool().connection():
        pool = own_pool().snapshot()
        beat()
        beat(uid="b", pid=4712)
        beat(uid="c", pid=4713, role="worker")
        tell()
        text = scrape().content.decode()
    labels = 'db_client_connection_pool_name="default",role="web"'
    assert value(text, f"db_client_connection_pending_requests{{{labels}}}") == 0
    assert value(text, f"db_client_connection_max{{{labels}}}") == 2 * pool.limit
    used = 'db_client_connection_count{db_client_connection_pool_name="default",role="%s",db_client_connection_state="used"}'
    assert (value(text, used % "web"), value(text, used % "worker")) == (2, 1)
    for role, number in (("web", 2), ("worker", 1), ("command", 0)):
        assert value(text, f'poolmgr_processes{{db_client_connection_pool_name="default",role="{role}"}}') == number
    assert value(text, f"db_client_connection_checkouts_total{{{labels}}}") == pool.checkouts >= 1
    assert value(text, f"db_client_connection_created_total{{{labels}}}") == pool.created >= 1
    counted = value(text, f"db_client_connection_wait_time_seconds_count{{{labels}}}")
    assert value(text, f'db_client_connection_wait_time_seconds_bucket{{{labels},le="+Inf"}}') == counted >= 1
    # Of a role whose processes have told nothing yet.
    assert value(text, f"db_client_connection_checkouts_total{{{labels.replace('web', 'worker')}}}") == 0
    assert value(text, "poolmgr_totals_up{}") == 1
    for name in (
        "wait_time_seconds",
        "use_time_seconds",
        "create_time_seconds",
        "timeouts_total",
        "idle_min",
        "idle_max",
    ):
        assert f"# TYPE db_client_connection_{name}" in text
    assert "process=" not in text


def test_what_was_counted_stays_when_its_process_ends() -> None:
    made = beat()
    tell(uid=made.uid)
    name = 'db_client_connection_checkouts_total{db_client_connection_pool_name="default",role="web"}'
    before = value(scrape().content.decode(), name)
    get_store().forget(made.uid)
    text = scrape().content.decode()
    assert value(text, name) == before >= 1
    assert value(text, 'poolmgr_processes{db_client_connection_pool_name="default",role="web"}') == 0


def test_each_process_by_itself_on_request() -> None:
    connection.close()
    with own_pool().connection():
        beat()
        beat(uid="b", pid=4712)
        answer = Client().get("/pools/metrics?processes", headers={"Authorization": f"Bearer {TOKEN}"})
    text = answer.content.decode()
    for pid in (4711, 4712):
        labels = f'db_client_connection_pool_name="default",role="web",process="{host()}:{pid}"'
        assert value(text, f"db_client_connection_max{{{labels}}}") == own_pool().snapshot().limit
        assert value(text, f"db_client_connection_checkouts_total{{{labels}}}") >= 1
        assert value(text, f"db_client_connection_use_time_seconds_count{{{labels}}}") >= 0
    for line in text.splitlines():
        assert line.startswith("# ") or LINE.fullmatch(line), line


def test_while_redis_is_away_what_was_counted_is_left_out_rather_than_too_low(settings: Any) -> None:  # P10
    beat()
    tell()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": "redis://127.0.0.1:1/0"}
    DatabaseStore().beat(ProcessBeat("rows", "h", 1, "web", 1.0, time.time(), pools=(own_pool().snapshot(),)))
    text = scrape().content.decode()
    assert value(text, "poolmgr_totals_up{}") == 0
    assert value(text, 'poolmgr_processes{db_client_connection_pool_name="default",role="web"}') == 1
    assert 'db_client_connection_max{db_client_connection_pool_name="default",role="web"}' in text
    assert "_total{" not in text
    assert "_bucket" not in text


def test_a_target_has_the_same_label_in_every_series() -> None:
    beat()
    # Whose heartbeat can't be read, of that nobody knows the targets; and the control database is none.
    others = ("#", "poolmgr_unread_processes", "poolmgr_control_up", "poolmgr_totals_up")
    figures = [line for line in scrape().content.decode().splitlines() if not line.startswith(others)]
    assert {"poolmgr_target_info", "poolmgr_target_state", "poolmgr_processes"} <= {
        line.partition("{")[0] for line in figures
    }
    for line in figures:
        assert '{db_client_connection_pool_name="default"' in line


def test_a_target_s_kind_and_address_are_told() -> None:
    own, cache = own_pool().snapshot(), PoolSnapshot("cache:default", kind="redis", address="cache.example.org:6379/1")
    beat(own, cache)
    told = [line for line in scrape().content.decode().splitlines() if line.startswith("poolmgr_target_info{")]
    name = "db_client_connection_pool_name"
    assert told == [
        f'poolmgr_target_info{{{name}="cache:default",kind="redis",address="cache.example.org:6379/1"}} 1',
        f'poolmgr_target_info{{{name}="default",kind="postgresql",address="{own.address}"}} 1',
    ]
    assert own.address


def test_every_line_is_wellformed_also_with_a_hostile_target_name() -> None:
    beat(replace(own_pool().snapshot(), target='a"b\\c\nd'))
    for line in scrape().content.decode().splitlines():
        assert line.startswith("# ") or LINE.fullmatch(line), line


def test_a_wrong_token_is_refused_and_no_token_means_staff_only() -> None:
    assert scrape("wrong").status_code == 401
    assert Client().get("/pools/metrics").status_code == 302
    assert signed_in(person("customer", staff=False)).get("/pools/metrics").status_code == 403
    assert signed_in(person("viewer", "view_poolprofile")).get("/pools/metrics").status_code == 200


@pytest.mark.long
def test_a_site_that_has_everybody_log_in_lets_the_token_in(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert scrape(TOKEN).status_code == 200
    assert Client().get("/pools/metrics").status_code == 302


def test_without_a_token_in_the_settings_no_token_is_right(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "METRICS_TOKEN": None}
    assert scrape("None").status_code == 401


def test_a_short_token_is_refused_without_repeating_it(settings: Any) -> None:  # P13
    settings.POOLMGR = {"METRICS_TOKEN": "short"}
    with pytest.raises(ConfigurationError, match=r"POOLMGR\['METRICS_TOKEN'\] is a value that is not shown") as caught:
        conf()
    assert "short" not in str(caught.value)
