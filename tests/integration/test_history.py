"""History: samples that are exact differences of the fleet's totals, rolled up as they age, and who may read them."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connections
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from poolmgr.control.access import control_database
from poolmgr.control.reach import Outage
from poolmgr.control.reporting.fleet import read_fleet, stored_checks
from poolmgr.control.reporting.past import moment, past
from poolmgr.control.reporting.told import iso
from poolmgr.control.store import get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.watching import ageing, sampling
from poolmgr.dashboard.drawing.strips import strips
from poolmgr.dashboard.past import history
from poolmgr.management.terminal import past as terminal
from poolmgr.metrics.packing import unpacked
from poolmgr.metrics.seen import Seen
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.models import Episode, Event, HealthCheck, Sample, SampleClock, SampledTotal
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.agents import command
from tests.threads import at_once

from .console import beat, own_fleet, person, signed_in
from .control_fleet import TestFleet, wait_for
from .sampled import Days, raw, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture(params=["redis", pytest.param("database", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest, settings: Any, redis_server: Any) -> Any:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    if request.param == "database":
        settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": None}
    return get_store()


@pytest.fixture
def days(store: Any, monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(monkeypatch)


def report(used: int = 2, pending: int = 0, most: int = 4, target: str = "default", role: str = "web") -> None:
    """Two processes of a role say the same."""
    pool = PoolSnapshot(target, used=used, idle=most - used, pending=pending, max_size=most)
    for uid in (f"{target}-{role}-1", f"{target}-{role}-2"):
        beat(pool, uid=uid, role=role)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_a_sample_is_the_difference_of_two_totals(days: Days) -> None:
    report()
    days.count(checkouts=100, **{"wait_time:0.001": 100, "wait_time:us": 50_000})
    # Since when the first totals count nobody knows.
    assert days.pass_by() == 1
    [first] = raw()
    assert (first.used, first.idle, first.capacity, first.processes, first.seconds) == (4, 4, 8, 2, None)
    days.count(
        checkouts=7, timeouts=2, created=1, **{"wait_time:0.001": 6, "wait_time:0.5": 1, "wait_time:us": 400_000}
    )
    days.pass_by()
    [_, second] = raw()
    assert (second.at - first.at).total_seconds() == 10
    assert (second.checkouts, second.timeouts, second.created, second.seconds) == (7, 2, 1, pytest.approx(10))
    assert (unpacked(second.wait).count, unpacked(second.wait).total) == (7, pytest.approx(0.4))
    days.pass_by()
    assert (raw()[2].checkouts, raw()[2].wait, raw()[2].seconds) == (0, "", pytest.approx(10))


def test_roles_and_targets_have_samples_of_their_own(days: Days) -> None:
    report()
    report(role="worker", used=1)
    report(target="cache:default", used=3)
    days.pass_by()
    days.count(role="worker", checkouts=3)
    # Whose last process has ended, which did something before it did.
    days.count(role="command", checkouts=9)
    days.pass_by()
    found = {(row.target, row.role): (row.used, row.checkouts, row.processes) for row in raw()}
    assert found == {
        ("default", "web"): (4, 0, 2),
        ("default", "worker"): (2, 3, 2),
        ("default", "command"): (0, 9, 0),
        ("cache:default", "web"): (6, 0, 2),
    }
    assert past("default", days.now - 60, days.now).periods[-1].used == 6
    assert past("default", days.now - 60, days.now, "worker").periods[-1].used == 2


def test_a_missed_interval_is_a_gap_and_what_was_counted_in_it_is_not_lost(days: Days) -> None:
    report()
    days.pass_by()
    for _ in range(3):
        days.count(checkouts=5)
    days.pass_by(40)
    first, second = raw()
    assert (second.at - first.at).total_seconds() == 40
    assert (second.checkouts, second.seconds) == (15, pytest.approx(40))


def test_many_samplers_at_once_make_one_row(days: Days) -> None:
    report()
    days.pass_by()
    days.count(checkouts=5)
    days.now += 10

    def one() -> int:
        try:
            return take()
        finally:
            connections.close_all()

    assert sorted(at_once(*[one] * 4)) == [0, 0, 0, 1]
    assert [row.checkouts for row in raw()] == [0, 5]
    assert take() == 0


def test_a_process_that_stalled_in_the_middle_counts_nothing_twice(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    report()
    days.pass_by()
    read = sampling.read_settled

    def slow() -> Any:
        # While it reads, another takes these samples, and the next ones.
        monkeypatch.setattr(sampling, "read_settled", read)
        days.count(checkouts=5)
        assert take() == 1
        days.count(checkouts=2)
        return read()

    days.now += 10
    monkeypatch.setattr(sampling, "read_settled", slow)
    assert take() == 0
    days.pass_by()
    assert [row.checkouts for row in raw()] == [0, 5, 2]


def test_redis_that_lost_its_memory_begins_at_zero(settings: Any, redis_server: Any, monkeypatch: Any) -> None:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    days = Days(monkeypatch)
    report()
    days.count(checkouts=1000)
    days.pass_by()
    days.count(checkouts=10)
    days.pass_by()
    with redis.Redis.from_url(redis_server.url()) as client:
        client.delete(*client.keys("{" + settings.POOLMGR["NAMESPACE"] + "}:*"))
    report()
    days.count(uid="another", checkouts=3)
    days.pass_by()
    days.count(uid="another", checkouts=4)
    days.pass_by()
    assert [row.checkouts for row in raw()] == [0, 10, 3, 4]


def test_redis_with_an_older_copy_of_its_memory_doubles_nothing(
    settings: Any, redis_server: Any, monkeypatch: Any
) -> None:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    days = Days(monkeypatch)
    report()
    days.pass_by()
    days.count(checkouts=1000)
    days.pass_by()
    with redis.Redis.from_url(redis_server.url()) as client:
        client.hset("{" + settings.POOLMGR["NAMESPACE"] + '}:total:["default", "web"]', "checkouts", 600)
    days.count(checkouts=5)
    days.pass_by()
    days.count(checkouts=6)
    days.pass_by()
    assert [row.checkouts for row in raw()] == [0, 1000, 0, 6]
    assert [row.seconds is None for row in raw()][1:] == [False, True, False]


@pytest.mark.long
def test_while_redis_is_away_gauges_go_on_and_what_is_counted_comes_with_the_first_sample_after(
    settings: Any, make_redis: Callable[[], EmbeddedRedis], monkeypatch: Any
) -> None:  # P11
    server = make_redis()
    own_fleet(settings, server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    days = Days(monkeypatch)
    report()
    days.pass_by()
    days.count(checkouts=8)
    for beat_ in get_store().processes():
        DatabaseStore().beat(replace(beat_, store_lost=beat_.at - 3600))
    away = get_store().totals

    def down() -> Any:
        raise sampling.StoreDown("Redis is away")

    monkeypatch.setattr(get_store(), "totals", down)
    days.pass_by()
    monkeypatch.setattr(get_store(), "totals", away)
    days.pass_by()
    _, without, after = raw()
    assert (without.used, without.seconds, without.checkouts) == (4, None, 0)
    assert (after.checkouts, after.seconds) == (8, pytest.approx(20))


def test_the_most_between_two_samples_is_kept(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampling.Sampler()
    report(used=4, pending=3)
    sampler.see(read_fleet())
    report(used=1)
    sampler.see(read_fleet())
    days.now += 10
    with control_database():
        assert sampler.is_due
        sampler.take((), {})
        assert not sampler.is_due
    [row] = raw()
    assert (row.used, row.used_most, row.pending, row.pending_most, row.full) == (2, 8, 0, 6, 2)


def test_slots_are_of_the_last_health_check_or_of_who_has_just_looked(days: Days, store: Any) -> None:
    report()
    check = {"target": "default", "state": "ok", "message": "fine"}
    HealthCheck.objects.create(**check, server_used=40, server_max=97, ours=8)
    days.now += 10
    with control_database():
        sampling.Sampler().take((), stored_checks(["default"]))
    store.note(
        "look:default", Seen(at=time.time(), tried=time.time(), used=50, most=97, ours={"default": 4}).to_text(), 60
    )
    days.now += 10
    with control_database():
        sampling.Sampler().take((), stored_checks(["default"]))
    found = [(row.server_used, row.server_most, row.server_ours) for row in raw()]
    assert found == [(40, 97, 8), (50, 97, 4) if store.pushes else (40, 97, 8)]
    read = past("default", days.now - 60, days.now).periods[-1].slots
    assert read is not None
    assert read.most == 97


# -- without Celery, in a real fleet -------------------------------------------------------------------------------------


@pytest.fixture
def fleet(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, settings: Any) -> Iterator[Callable[..., TestFleet]]:
    made: list[TestFleet] = []

    def make(**more: Any) -> TestFleet:
        options = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "PROCESS_TTL": 2, "POLL_INTERVAL": 0.3}
        options |= {"HEARTBEAT_INTERVAL": 0.2, "SAMPLE_INTERVAL": 1, **more}
        settings.POOLMGR = {**options, "AGENT": False}
        made.append(TestFleet(postgres, options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.mark.parametrize("with_redis", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_fleet_keeps_its_history_and_no_death_takes_anything_of_it(  # P11
    fleet: Callable[..., TestFleet], redis_server: EmbeddedRedis, with_redis: bool
) -> None:
    killed, other = fleet(**({"REDIS_URL": redis_server.url()} if with_redis else {})).start(2)
    wait_for(lambda: sum(row.processes == 2 and row.checkouts > 0 for row in raw()) >= 2, 30)
    first_total, first_rows = in_samples()
    killed.kill()
    wait_for(lambda: len(get_store().processes()) == 1, 20)
    wait_for(lambda: any(row.processes == 1 for row in raw()[-1:]), 20)
    other.end()
    last_total, last_rows = in_samples()
    assert last_rows - first_rows == last_total - first_total > 0
    # Nobody samples any more, and what was told since waits for whoever does.
    everything = sum(each.count("checkouts") for each in get_store().totals())
    wait_for(lambda: take() >= 0 and in_samples()[0] == everything)
    last_total, last_rows = in_samples()
    assert last_rows - first_rows == last_total - first_total
    assert all(row.capacity >= row.used for row in raw())


def in_samples() -> tuple[int, int]:
    """The checkouts of the totals that are in samples, and of the samples, at one moment."""

    def read() -> tuple[int, int]:
        total = sum(row.sums.get("checkouts", 0) for row in SampledTotal.objects.all())
        return total, sum(row.checkouts for row in raw())

    return wait_for(lambda: (found := read()) == read() and found)


# -- as it ages ---------------------------------------------------------------------------------------------------------


def test_it_is_rolled_up_and_nothing_is_lost_or_doubled(days: Days) -> None:
    report()
    days.pass_by()
    for number in range(1, 400):
        days.count(checkouts=number, **{"wait_time:0.001": number, "wait_time:us": number * 500})
        days.pass_by()
    everything = sum(range(1, 400))
    assert sum(row.checkouts for row in raw()) == everything
    end = moment(days.now // 3600 * 3600)
    for tier in (1, 2, 3):
        rolled = Sample.objects.filter(tier=tier, at__lt=end)
        finer = Sample.objects.filter(tier=0, at__lt=end)
        assert rolled.count() == {1: 60, 2: 6, 3: 1}[tier]
        assert sum(row.checkouts for row in rolled) == sum(row.checkouts for row in finer)
        assert sum(unpacked(row.wait).count for row in rolled) == sum(unpacked(row.wait).count for row in finer)
        assert sum(row.seconds for row in rolled) == pytest.approx(sum(row.seconds or 0 for row in finer))
    # However finely it is read, it is the same, also where the last hour is not rolled up yet.
    for length in (3 * 3600, 86_400, 7 * 86_400, 30 * 86_400):
        read = past("default", days.now - length, days.now)
        assert sum(period.checkouts for period in read.periods) == everything, read.step


def test_a_crash_in_the_middle_of_a_roll_up_leaves_all_as_it_was(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    report()
    for _ in range(5):
        days.pass_by()
        days.count(checkouts=5)
    before = Sample.objects.count()

    def crash(*args: Any) -> None:
        raise RuntimeError("crash")

    with monkeypatch.context() as broken:
        broken.setattr(ageing, "in_a_row", crash)
        with pytest.raises(RuntimeError):
            days.pass_by()
    assert Sample.objects.count() == before
    assert days.pass_by(0) == 1
    assert sum(row.checkouts for row in raw()) == 25
    assert [row.checkouts for row in Sample.objects.filter(tier=1)] == [25]


def test_each_tier_is_kept_for_its_time_and_no_longer(days: Days, settings: Any) -> None:
    report()
    values = {"target": "default", "role": "web", "looks": 1, "used": 1, "idle": 0, "pending": 0, "used_most": 1}
    values |= {"pending_most": 0, "full": 0, "capacity": 4, "processes": 1}
    ages = {0: (2, 4), 1: (47, 49), 2: (719, 721), 3: (719, 721)}
    for tier, hours in ages.items():
        for hour in hours:
            Sample.objects.create(tier=tier, at=moment(days.now - 3600 * hour), **values)
    days.pass_by()
    for _ in range(60):
        days.pass_by(10)
    left = Sample.objects.filter(at__lt=moment(days.now - 7000))
    assert {row.tier: round((days.now - row.at.timestamp()) / 3600) for row in left} == {0: 2, 1: 47, 2: 719, 3: 719}


# -- the page -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


@pytest.fixture
def told(days: Days) -> Days:
    """Twenty minutes with an edit and an episode in them."""
    report(used=4, pending=2)
    HealthCheck.objects.create(target="default", state="ok", message="fine", server_used=40, server_max=97, ours=8)
    for number in range(120):
        days.pass_by()
        days.count(checkouts=50, timeouts=number % 2, **{"wait_time:0.001": 49, "wait_time:0.5": 1})
    at = moment(days.now - 600)
    Episode.objects.create(
        target="default", family="exhausted", code="exhausted", state="critical", sentence="All of it was full.",
        began_at=at, seen_at=at + timedelta(seconds=60), ended_at=at + timedelta(seconds=60),
    )  # fmt: skip
    edit = Event.objects.create(kind="profile", target="default", author="erika", message="max_size 8 → 4")
    Event.objects.filter(pk=edit.pk).update(at=at - timedelta(seconds=12))
    return days


def test_the_page_shows_charts_with_tables_and_what_happened(told: Days, operator: User) -> None:
    page = signed_in(operator).get("/pools/history/?range=1h")
    text = page.content.decode()
    assert page.status_code == 200
    assert text.count('class="pm-drawn"') >= 6
    assert text.count("<table") == text.count('class="pm-drawn"')
    assert "max_size 8 → 4" in text
    assert "erika" in text
    assert 'class="pm-flag"' in text
    assert ' style="' not in text.partition('<div class="pm pm-history">')[2]
    assert "default-src" in page.headers["Content-Security-Policy"]


def test_a_reader_who_may_not_see_events_sees_the_charts_alone(told: Days) -> None:
    client = signed_in(person("viewer", "view_poolprofile"))
    text = client.get("/pools/history/").content.decode()
    assert "pm-drawn" in text
    assert "max_size 8" not in text
    assert client.get("/pools/history/?format=json").json()["marks"] is None


def test_the_same_is_there_as_json_and_csv(told: Days, operator: User) -> None:
    client = signed_in(operator)
    found = client.get("/pools/history/?range=1h&format=json").json()
    assert (found["target"], found["step"]) == ("default", 10.0)
    assert len(found["periods"]) == 120
    last = found["periods"][-1]
    assert (last["used"], last["capacity"], last["checkouts"], last["pending_most"]) == (8, 8, 50, 4)
    assert last["wait_p50"] < 0.001 < last["wait_p99"] <= 0.5
    assert [mark["kind"] for mark in found["marks"]] == ["profile", "episode"]
    rows = list(csv.DictReader(io.StringIO(client.get("/pools/history/?range=1h&format=csv").content.decode())))
    assert [row["at"] for row in rows] == [iso(each["at"]) for each in found["periods"]]
    assert sum(int(row["timeouts"] or 0) for row in rows) == sum(each["timeouts"] or 0 for each in found["periods"]) > 0


def test_a_name_that_is_a_formula_is_a_text_in_csv(told: Days, operator: User) -> None:
    SampledTotal.objects.create(target="=1+1", role="web", at=timezone.now(), sums={})
    Sample.objects.filter(tier=0).update(target="=1+1")
    text = signed_in(operator).get("/pools/history/?target=%3D1%2B1&format=csv").content.decode()
    assert "'=1+1" in text
    assert ",=1+1" not in text


@pytest.mark.parametrize("form", ["", "csv", "json"])
def test_a_query_that_can_not_be_answered_is_told_why(days: Days, operator: User, form: str) -> None:
    answer = signed_in(operator).get(f"/pools/history/?range=2h&format={form}")
    assert answer.status_code == 400
    assert signed_in(operator).get(f"/pools/history/?rnage=1h&format={form}").status_code == 400
    assert "“range” is “2h”, but must be one of 15m, 1h, 6h, 1d, 7d, 30d." in answer.content.decode()


def test_strangers_are_sent_to_the_login_and_their_programs_are_told(days: Days) -> None:
    assert Client().get("/pools/history/").status_code == 302
    assert Client().get("/pools/history/?format=json").status_code == 401
    assert Client().get("/pools/history/?format=csv").status_code == 401
    assert signed_in(person("staff")).get("/pools/history/?format=json").status_code == 403


def test_before_there_is_any_the_page_says_when_there_will_be(days: Days, operator: User) -> None:
    text = signed_in(operator).get("/pools/history/").content.decode()
    assert "There is no history yet." in text
    assert "pm-drawn" not in text
    report()
    days.pass_by()
    assert (
        "Nothing is known of this time"
        in signed_in(operator)
        .get(f"/pools/history/?from={days.now - 7200:.0f}&to={days.now - 3600:.0f}")
        .content.decode()
    )


def test_while_the_control_database_is_away_the_page_says_so_and_paints_nothing(  # P10
    told: Days, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "outage", lambda alias: Outage("The control database does not answer.", 0.0))
    for form in ("", "json"):
        answer = signed_in(operator).get(f"/pools/history/?format={form}")
        assert answer.status_code == 503
        assert "History is in the control database. The control database does not answer." in answer.content.decode()
        assert "pm-drawn" not in answer.content.decode()


# -- strips and the terminal ------------------------------------------------------------------------------------------------


def test_strips_show_the_last_hour_of_each_target_by_two_queries(told: Days, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        found = strips(["default", "cache:default"])
    strip = found["default"]
    assert strip.used.startswith("M")
    assert strip.limit
    assert strip.waiting
    assert strip.failed
    assert [bar.state for bar in strip.bars] == ["critical"]
    assert strip.text.startswith("Last hour: up to 8 of 8 in use, up to 4 waiting, ")
    assert not strip.is_empty
    assert found["cache:default"].is_empty
    assert found["cache:default"].text == "Nothing is known of the last hour."


def test_a_strip_is_printed_with_its_words(told: Days) -> None:
    text = render_to_string("poolmgr/strip.html", {"strip": strips(["default"])["default"]})
    assert text.count("<path") >= 5
    assert 'role="img" aria-label="Last hour: up to 8 of 8 in use' in text
    assert "All of it was full." in text
    assert "style=" not in text


def test_a_minute_counts_once_in_a_strip_whether_or_not_it_is_rolled_up(days: Days) -> None:
    report()
    days.pass_by()
    for number in range(1, 16):
        days.count(timeouts=1)
        days.pass_by()
        assert f"{number} request" in strips(["default"])["default"].text


def test_a_terminal_tells_it_too(told: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "time", lambda: told.now)
    said = io.StringIO()
    command("poolctl", "history", "default", stdout=said, no_color=True)
    lines = said.getvalue().splitlines()
    assert lines[0] == "default:"
    assert lines[1].split()[:7] == ["FROM", "USED", "MOST", "LIMIT", "WAITED", "FULL", "FAILED"]
    assert lines[3].split()[1:6] == ["8", "8", "8", "4", "2"]
    said = io.StringIO()
    command("poolctl", "history", "default", "--range", "1h", "--json", stdout=said)
    [document] = json.loads(said.getvalue())
    assert sum(each["checkouts"] or 0 for each in document["periods"]) == 119 * 50


def test_a_clock_that_was_far_ahead_stops_nothing(days: Days) -> None:
    report()
    days.pass_by()
    SampleClock.objects.update(at=moment(days.now + 86_400))
    assert days.pass_by() == 1
    assert days.pass_by() == 1
