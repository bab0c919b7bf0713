"""Anything may lie in a store. What can't be read costs itself: the pages, the metrics and the tasks go on, and name it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from poolmgr import tasks
from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.following.orders import Orders, orders_for
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.report import make_report
from poolmgr.control.store import fetching, get_store, live_uids
from poolmgr.control.store.base import FleetStore
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.store.redis import RedisStore
from poolmgr.control.watching import records
from poolmgr.control.watching.watch import Watch
from poolmgr.identity import process_uid
from poolmgr.metrics.snapshot import MAX_BEAT, Holder, PoolSnapshot
from poolmgr.models import (
    Acknowledgement,
    Episode,
    Event,
    HealthCheck,
    PoolProfile,
    Process,
    ProfileRevision,
)
from poolmgr.targets.postgresql.managed import ManagedPool

from .console import beat, calm, own_fleet, person, signed_in
from .sampled import raw, take, take_first

Put = Callable[[str, str], None]


@pytest.fixture(params=["redis", "database"])
def store(request: pytest.FixtureRequest, transactional_db: None, settings: Any, redis_server: Any) -> FleetStore:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    if request.param == "database":
        settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": None}
    assert get_store().name == request.param
    return get_store()


@pytest.fixture
def put(store: FleetStore) -> Put:
    """put(uid, text): what lies in the store for a process."""

    def into_redis(uid: str, text: str) -> None:
        store._client.set(store._beat_key + uid, text, ex=60)  # type: ignore[attr-defined]
        store._client.sadd(store._index, uid)  # type: ignore[attr-defined]

    def into_a_row(uid: str, text: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO poolmgr_process (uid, at, beat, details) VALUES (%s, now(), %s, '{}')", [uid, text]
            )

    return into_redis if store.name == "redis" else into_a_row


@pytest.fixture
def client(store: FleetStore) -> Client:
    return signed_in(person("operator", superuser=True))


def garbage(store: FleetStore) -> dict[str, str]:
    good = json.loads(beat(calm(), uid="good-1").to_json())
    pool = good["pools"][0]
    found = {
        "empty": "{}",
        "null": "null",
        "nested": "[" * 500 + "]" * 500,
        "another": json.dumps({**good, "uid": "good-2"}),
        "buckets": json.dumps(
            good | {"uid": "buckets", "pools": [pool | {"wait_time": {"counts": [1] * 30, "total": 1.0}}]}
        ),
        "types": json.dumps(good | {"uid": "types", "pools": [pool | {"used": "3", "pins": 7}]}),
        "huge": json.dumps(good | {"uid": "huge", "pools": [pool | {"used": 10**40}]}),
        "floats": json.dumps(good | {"uid": "floats", "at": 1e300}),
        "crowded": json.dumps(good | {"uid": "crowded", "pools": [{"target": f"t{n}"} for n in range(20_000)]}),
        "long": json.dumps(good | {"uid": "long", "pools": [pool | {"target": f"t{n}"} for n in range(9000)]}),
    }
    if store.name == "redis":  # which a row refuses by itself
        found |= {
            "nothing": " ",
            "torn": '{"uid": "torn"',
            "nan": json.dumps(good | {"uid": "nan", "at": float("nan")}),
        }
        found |= {"deep": "[" * 100_000}
    return found


@pytest.mark.long
def test_each_costs_itself_and_is_named(store: FleetStore, put: Put, client: Client) -> None:  # P10
    bad = garbage(store)
    assert len(bad["long"]) > MAX_BEAT > len(bad["crowded"])
    for uid, text in bad.items():
        put(uid, text)
    reading = store.read()
    assert [each.uid for each in reading.beats] == ["good-1"]
    why = {each.uid: each.why for each in reading.unread}
    assert why.keys() == bad.keys()
    assert why["buckets"] == "pools[0].wait_time.counts: expected `array` of length <= 24"
    assert why["crowded"] == "pools: expected `array` of length <= 1000"
    assert "bytes, and the most are 4,194,304" in why["long"]
    assert why["another"] == "it is of another process than its place says"
    assert live_uids() == {"good-1", *bad}
    for page in ("/pools/", "/pools/fragment/", "/pools/targets/default/", "/admin/poolmgr/poolprofile/"):
        assert client.get(page).status_code == 200
    page = client.get("/pools/").content.decode()
    assert f"{len(bad)} reports can&#x27;t be read" in page
    assert "another: it is of another process than its place says" in page
    assert "All is well" not in page
    told = client.get("/pools/api/v1/processes").json()
    assert {each["uid"] for each in told["unread"]} == bad.keys()
    assert [each["uid"] for each in told["processes"]] == ["good-1"]
    assert f"\npoolmgr_unread_processes{{}} {len(bad)}\n" in client.get("/pools/metrics").content.decode()


@pytest.fixture
def spoil(settings: Any, store: FleetStore) -> Callable[[str, str], None]:
    """Have a text stand where the details of a process are."""

    def do(uid: str, text: str) -> None:
        if store.name == "redis":
            with redis.Redis.from_url(settings.POOLMGR["REDIS_URL"]) as client:
                client.set("{" + settings.POOLMGR["NAMESPACE"] + "}:details:" + uid, text, px=20_000)
        else:
            Process.objects.filter(uid=uid).update(details=json.loads(text))

    return do


def test_details_that_cannot_be_read_cost_no_more_than_these(
    store: FleetStore, spoil: Callable[[str, str], None], client: Client
) -> None:  # P10
    held = Holder("MainThread", 3.0, 4711, label="GET slow")
    for uid in ("good-1", "bad-1", "long-1"):
        beat(replace(calm(), used=1, holders=(held,)), uid=uid)
    spoil("bad-1", '{"uid": "good-1", "host": "h", "pid": -1}')
    spoil("long-1", json.dumps({"uid": "x" * MAX_BEAT}))
    reading = store.read()
    assert {each.uid for each in reading.beats} == {"bad-1", "good-1", "long-1"}
    why = {each.uid: each.why for each in reading.unread}
    assert why.keys() == {"bad-1", "long-1"}
    assert all(each.startswith("of its details, ") for each in why.values())
    assert "bytes, and the most are 4,194,304" in why["long-1"]
    assert {each.uid: len(each.pools[0].holders) for each in reading.beats} == {"bad-1": 0, "good-1": 1, "long-1": 0}
    told = store.details(["good-1", "bad-1", "long-1", "gone-1"])
    assert (told.beats.keys(), {each.uid: each.why for each in told.unread}) == ({"good-1"}, why)
    assert store.read(details=False).unread == ()
    assert make_report().verdict.state == "warning"
    for page in ("/pools/targets/default/", "/pools/processes/bad-1/"):
        assert "of its details, " in client.get(page).content.decode(), page
    assert re.search(r'pm-big">3</span>', client.get("/pools/targets/default/").content.decode()), "all that is used"


@pytest.mark.long
@pytest.mark.parametrize(
    "person_may", [("view_poolprofile",), ("view_poolprofile", "view_event")], ids=["page", "events"]
)
def test_the_overview_names_whose_details_it_has_not_read(
    store: FleetStore, spoil: Callable[[str, str], None], person_may: tuple[str, ...]
) -> None:  # P10
    for n in range(20):
        beat(replace(calm(), oldest_checkout=9.0), uid=f"busy-{n}", pid=5000 + n)
    beat(replace(calm(), oldest_checkout=0.0), uid="bad-1")
    watch, viewer = Watch("keeper-1"), signed_in(person("viewer", *person_may))
    watch.turn(store)
    watch.tend(store)
    watch.turn(store)
    assert "All is well" in viewer.get("/pools/").content.decode()
    spoil("bad-1", "{}" if store.name == "redis" else '{"uid": 1}')
    assert "All is well" in viewer.get("/pools/").content.decode(), "it reads of those who hold for longest"
    watch._due = 0.0
    watch.turn(store)
    watch.tend(store)
    page = viewer.get("/pools/").content.decode()
    assert "1 report can&#x27;t be read" in page
    assert "bad-1: of its details, " in page
    assert "All is well" not in page


def test_one_is_named_by_poolcheck_and_the_tasks_go_on(store: FleetStore, put: Put) -> None:  # P10
    beat(calm(), uid="good-1")
    put("empty", "{}")
    report = make_report()
    assert report.verdict.state == "warning"
    assert report.fleet.unread_error.startswith("1 report can't be read")
    assert "(empty: object missing required field `uid`)" in report.verdict.sentence
    assert take_first() == 1
    assert tasks.check_target("default").startswith("default is ok")
    assert tasks.tick().endswith("checks started")
    assert tasks.sweep() == "0 dead processes cleared away"
    assert len(raw()) == 1
    assert not Event.objects.filter(kind="process").exists()


def test_alone_it_leaves_the_fleet_unknown(store: FleetStore, put: Put, client: Client) -> None:
    put("empty", "{}")
    page = client.get("/pools/").content.decode()
    assert "1 report can&#x27;t be read" in page
    assert "No process has opened a pool yet" not in page


def test_figures_beyond_any_column_are_kept_as_the_most(store: FleetStore) -> None:
    beat(PoolSnapshot("default", used=2**40, max_size=2**40, recent_checkouts=2**47), uid="liar")
    assert take_first() == 1
    assert [row.used for row in raw()] == [2**31 - 1]


@pytest.fixture
def redis_store(transactional_db: None, settings: Any, redis_server: Any) -> Iterator[RedisStore]:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    made = get_store()
    assert isinstance(made, RedisStore)
    yield made
    made._client.delete(made._index)


def test_a_store_full_of_names_hides_nobody_for_long(redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_NAMES", 5000)
    beat(calm(), uid="good-1")
    redis, index = redis_store._client, redis_store._index
    redis.sadd(index, *(f"bogus-{number}" for number in range(7000)))
    redis.sadd(index, "x" * 500, b"\xff\xfe")
    (said,) = read_beats().errors
    assert re.fullmatch(r"The store names [12]\d{3} more processes than are looked at; sweep it\.", said)
    for _ in range(2):
        assert tasks.sweep().endswith(" dead processes cleared away")
    assert redis.smembers(index) == {b"good-1"}
    assert [each.uid for each in read_fleet().processes] == ["good-1"]
    assert read_fleet().store_error == ""
    # The rows tell of it, and are not flooded.
    assert 0 < Event.objects.filter(kind="process").count() < 300


def test_what_lies_where_a_beat_should_is_named(redis_store: RedisStore) -> None:
    beat(calm(), uid="good-1")
    redis, key, index = redis_store._client, redis_store._beat_key, redis_store._index
    redis.rpush(key + "list", "a")
    redis.set(key + "eternal", json.dumps(beat(calm(), uid="good-2").to_dict()))
    redis.set(key + "x" * 65, "{}", ex=60)
    redis.sadd(index, "list", "eternal", "x" * 65)
    why = {each.uid: each.why for each in redis_store.read().unread}
    assert why["list"] == "it is no text"
    assert why["eternal"] == "it would never expire, as no process leaves it"
    assert why["x" * 64 + "…"] == "its name has 65 characters, and the most are 64"
    assert redis_store.sweep() == ()


@pytest.mark.long
def test_rows_that_were_made_wrong_in_sql_spoil_no_page(store: FleetStore, client: Client) -> None:
    beat(calm(), uid=process_uid())
    profile = PoolProfile(target="default")
    save_profile(profile, "operator")
    revision = ProfileRevision.objects.get()
    HealthCheck.objects.create(target="default", state="ok", message="m", connect_time=0.1, server_used=1, server_max=9)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE poolmgr_healthcheck SET state = 'great', connect_time = 'NaN', query_time = 'Infinity'")
    for values, changes in (
        ("[]", "{}"),
        ('"x"', '{"max_size": 5}'),
        ('{"max_size": {}}', "7"),
        ('{"enabled": 3}', "[[1]]"),
    ):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE poolmgr_profilerevision SET values = %s, changes = %s", [values, changes])
        for page in (
            "/pools/", "/pools/api/v1/status", "/pools/metrics", "/pools/history/", "/admin/poolmgr/healthcheck/",
            "/admin/poolmgr/profilerevision/", f"/admin/poolmgr/profilerevision/{revision.pk}/change/",
            f"/admin/poolmgr/profilerevision/{revision.pk}/restore/", f"/admin/poolmgr/poolprofile/{profile.pk}/history/",
        ):  # fmt: skip
            assert client.get(page).status_code == 200, (page, values)
        answer = client.post(f"/admin/poolmgr/profilerevision/{revision.pk}/restore/", follow=True)
        assert "Not restored: " in answer.content.decode()
    profile.refresh_from_db()
    assert (profile.max_size, profile.revision) == (10, 1)


TIMES = {
    "command": "created_at", "acknowledgement": "at", "event": "at", "healthcheck": "at", "sample": "at",
    "sampleclock": "at", "sampledtotal": "at", "poolprofile": "updated_at", "profilerevision": "created_at",
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "9999-12-31", "0001-01-01"])
def test_a_time_that_python_has_no_value_for_spoils_nothing(
    moment: str, redis_store: RedisStore, small_pool: Callable[..., ManagedPool]
) -> None:  # P10
    pool = small_pool("session", max_size=2)
    client = signed_in(person("operator", superuser=True))
    beat(calm(), uid=process_uid())
    profile = PoolProfile(target="default")
    save_profile(profile, "operator")
    HealthCheck.objects.create(target="default", state="ok", message="m")
    beat(calm())
    assert take_first() == 1
    Episode.objects.create(
        target="default", family="paused", state="great", began_at=timezone.now(), seen_at=timezone.now()
    )
    command = commands.send("pause", "default", "operator")
    Acknowledgement.objects.create(command=command, process="p", state="done")
    with connection.cursor() as cursor:
        for table, column in TIMES.items():
            cursor.execute(f"UPDATE poolmgr_{table} SET {column} = %s", [moment])
        cursor.execute("UPDATE poolmgr_command SET expires_at = %s", [moment])
        cursor.execute("UPDATE poolmgr_episode SET began_at = %s, seen_at = %s, figures = '[7]'", [moment, moment])
    for page in (
        "/pools/", "/pools/api/v1/status", "/pools/api/v1/events", "/pools/api/v1/episodes", "/pools/api/v1/commands",
        "/pools/metrics", "/pools/history/", "/admin/poolmgr/poolprofile/", "/admin/poolmgr/command/",
        f"/admin/poolmgr/poolprofile/{profile.pk}/change/", f"/admin/poolmgr/poolprofile/{profile.pk}/history/",
        f"/admin/poolmgr/command/{command.pk}/change/",
        f"/admin/poolmgr/healthcheck/{HealthCheck.objects.get().pk}/change/",
    ):  # fmt: skip
        assert client.get(page).status_code == 200, page
    assert records.unfinished() == ()
    take()
    for task in (tasks.tick, tasks.prune, tasks.sweep):
        assert "can't be used" not in task()
    # The agents go on, and do what is ordered.
    orders = Orders("u", lambda: None)
    if moment in ("infinity", "9999-12-31"):
        assert orders.carry_out(orders_for("u"))
        assert pool.paused
        pool.resume()


def test_a_row_of_the_far_future_is_no_process(redis_store: RedisStore, settings: Any) -> None:
    rows = DatabaseStore()
    rows.beat(beat(calm(), uid="late"))
    assert rows.read().uids == {"late"}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE poolmgr_process SET at = 'infinity'")
    assert rows.read().uids == set()
    assert rows.sweep() == ("late",)
