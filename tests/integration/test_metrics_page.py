"""The page for Prometheus: who may read it, and that what it says is what the pools say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from poolmgr.conf import conf
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.snapshot import PoolSnapshot

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


def test_every_figure_of_a_pool_is_there_under_opentelemetrys_names() -> None:
    connection.close()
    with own_pool().connection():
        beat()
        text = scrape().content.decode()
    labels = 'db_client_connection_pool_name="default",role="web",process='
    assert value(text, f"db_client_connection_pending_requests{{{labels}") == 0
    assert value(text, f"db_client_connection_max{{{labels}") == own_pool().snapshot().limit
    used = [line for line in text.splitlines() if 'state="used"' in line]
    assert used[0].endswith(" 1")
    counted = value(text, f"db_client_connection_wait_time_seconds_count{{{labels}")
    last = [line for line in text.splitlines() if "wait_time_seconds_bucket" in line and 'le="+Inf"' in line]
    assert float(last[0].rsplit(" ", 1)[1]) == counted >= 1
    for name in (
        "wait_time_seconds",
        "use_time_seconds",
        "create_time_seconds",
        "timeouts_total",
        "idle_min",
        "idle_max",
    ):
        assert f"# TYPE db_client_connection_{name}" in text


def test_a_target_has_the_same_label_in_every_series() -> None:
    beat()
    # Whose heartbeat can't be read, of that nobody knows the targets; and the control database is none.
    others = ("#", "poolmgr_unread_processes", "poolmgr_control_up")
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
    from msgspec.structs import replace

    beat(replace(own_pool().snapshot(), target='a"b\\c\nd'))
    for line in scrape().content.decode().splitlines():
        assert line.startswith("# ") or LINE.fullmatch(line), line


def test_a_wrong_token_is_refused_and_no_token_means_staff_only() -> None:
    assert scrape("wrong").status_code == 401
    assert Client().get("/pools/metrics").status_code == 302
    assert signed_in(person("customer", staff=False)).get("/pools/metrics").status_code == 403
    assert signed_in(person("viewer", "view_poolprofile")).get("/pools/metrics").status_code == 200


def test_without_a_token_in_the_settings_no_token_is_right(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "METRICS_TOKEN": None}
    assert scrape("None").status_code == 401


def test_a_short_token_is_refused_without_repeating_it(settings: Any) -> None:  # P13
    settings.POOLMGR = {"METRICS_TOKEN": "short"}
    with pytest.raises(ConfigurationError, match=r"POOLMGR\['METRICS_TOKEN'\] is a value that is not shown") as caught:
        conf()
    assert "short" not in str(caught.value)
