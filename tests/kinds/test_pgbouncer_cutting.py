"""Kill, disable and enable: what cuts clients of a PgBouncer off, ordered on the dashboard and done by whoever leads."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from math import inf
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
from msgspec.structs import replace

from poolmgr.control.access import control_database
from poolmgr.control.commanding import commands
from poolmgr.control.following.orders import Orders, orders_for
from poolmgr.models import Acknowledgement, Command, Event
from poolmgr.pools import registry
from poolmgr.targets.known import manager
from poolmgr.targets.pgbouncer.pool import BouncerPool
from poolsite.demo.servers import EmbeddedRedis
from tests.bouncer import ONLOOKER, Bouncer
from tests.integration.console import beat, own_fleet, own_pool, person, signed_in
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "bouncer"
CHANGES = ("view_poolprofile", "change_poolprofile", "view_command", "view_event")


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    # A login that comes while it is paused it takes for one that failed, and then tries for so long no other one.
    return make_bouncer(server_login_retry=1)


@pytest.fixture(autouse=True)
def _declared(settings: Any, redis_server: EmbeddedRedis, bouncer: Bouncer) -> Iterator[None]:
    own_fleet(settings, redis_server)
    declare(settings, bouncer.console_url(), list(bouncer.databases))
    yield
    registry.close(TARGET)
    for row in bouncer.console("SHOW DATABASES"):
        for column, command in (("paused", "RESUME"), ("disabled", "ENABLE")):
            if row[column]:
                bouncer.console(f"{command} {row['name']}")
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


def declare(settings: Any, url: str, databases: list[str]) -> None:
    given = {"KIND": "pgbouncer", "URL": url, "DATABASES": databases}
    settings.POOLMGR = {**settings.POOLMGR, "HEARTBEAT_INTERVAL": 0.2, "TARGETS": {TARGET: given}}


def lead() -> BouncerPool:
    pool = registry.get_or_make(TARGET, lambda: manager(TARGET))
    assert isinstance(pool, BouncerPool)
    pool.lead(inf)
    until(lambda: pool.instances[0].picture or pool.instances[0].error, "a first look")
    return pool


def follow(orders: Orders, command: Command) -> Acknowledgement:
    """Until it is done or has failed."""

    def said() -> Acknowledgement | None:
        orders.save()
        answers = Acknowledgement.objects.filter(command=command)
        return answers.exclude(state=Acknowledgement.State.RUNNING).first()

    with control_database():
        assert orders.carry_out(orders_for("me"))
        return until(said, "the answer", timeout=20)


def order(client: Client, kind: str, database: str = "") -> Command:
    """By the page that asks, and the button on it."""
    page = client.get("/pools/confirm/", {"kind": kind, "target": TARGET})
    assert page.status_code == 200
    assert f'name="kind" value="{kind}"' in page.content.decode()
    assert f'type="radio" name="database" value="{database}" required' in page.content.decode()
    given = {"kind": kind, "target": TARGET, "database": database}
    assert client.post("/pools/command/", given).status_code == 302
    return Command.objects.filter(kind=kind).latest("id")


def ask(bouncer: Bouncer) -> Any:
    with bouncer.client(autocommit=True) as client:
        return client.execute("SELECT 1").fetchone()


def states(bouncer: Bouncer) -> dict[str, tuple[int, int]]:
    rows = bouncer.console("SHOW DATABASES")
    return {row["name"]: (row["paused"], row["disabled"]) for row in rows if row["name"] != "pgbouncer"}


@pytest.mark.long
def test_one_database_may_be_chosen_and_the_others_go_on(bouncer: Bouncer) -> None:  # P5
    pool, orders = lead(), Orders("me", lambda: None)
    operator = signed_in(person("operator", *CHANGES, "cut_off_clients"))
    for kind, left in (
        ("kill", (1, 0)),
        ("resume", (0, 0)),
        ("disable", (0, 1)),
        ("enable", (0, 0)),
        ("pause", (1, 0)),
    ):
        with bouncer.client() as spared:
            spared.execute("SELECT 1")
            said = follow(orders, order(operator, kind, "other"))
            assert said.state == "done", said.message
            spared.execute("SELECT 1")
        assert states(bouncer) == {"app": (0, 0), "other": left}, kind
        first = pool.instances[0].picture
        until(lambda first=first: pool.instances[0].picture is not first, "another round")
        beat(own_pool().snapshot(), replace(pool.snapshot(), problem=pool.problem))
        card = card_of(operator)
        assert ("Killed: other. Its clients were cut off" in card) == (kind == "kill")
        assert ("other paused" in card) == (left[0] == 1)
        assert ("other disabled" in card) == (left[1] == 1)
        assert ("kind=resume" in card) == (left[0] == 1)
        assert not pool.paused
    # What is said of the whole holds for each; what is said of one afterwards, for that one.
    assert follow(orders, order(operator, "pause")).state == "done"
    assert follow(orders, order(operator, "resume", "app")).state == "done"
    assert states(bouncer) == {"app": (0, 0), "other": (1, 0)}
    registry.close(TARGET)
    bouncer.console("RESUME other")
    pool = lead()
    with control_database():  # whoever leads next
        assert Orders("next", lambda: None).carry_out(orders_for("next"))
    assert pool.settle(10) == ""
    assert states(bouncer) == {"app": (0, 0), "other": (1, 0)}
    assert follow(orders, order(operator, "recycle", "other")).state == "done"
    assert follow(orders, order(operator, "resume")).state == "done"
    assert states(bouncer) == {"app": (0, 0), "other": (0, 0)}
    told = Event.objects.filter(kind="command").earliest("id")
    assert told.message == f"kill {TARGET}, database other, in all processes"


@pytest.mark.parametrize("kind", ["kill", "pause"])
def test_a_database_that_the_target_does_not_name_is_refused(kind: str, bouncer: Bouncer) -> None:  # P9
    operator = signed_in(person("operator", *CHANGES, "cut_off_clients"))
    for database in ("missing", "app; KILL other", "pgbouncer"):
        answer = operator.post("/pools/command/", {"kind": kind, "target": TARGET, "database": database})
        assert answer.status_code == 400
        assert "names no database" in answer.content.decode()
        with pytest.raises(commands.Denied, match="there are: 'app', 'other'"):
            commands.send(kind, TARGET, "ann", database=database)
    with pytest.raises(commands.Denied, match="none that could be chosen"):
        commands.send("pause", "default", "ann", database="app")
    assert not Command.objects.exists()


@pytest.mark.every_pgbouncer
def test_a_killed_one_has_no_clients_and_stays_paused_until_it_is_resumed(bouncer: Bouncer) -> None:
    pool, orders = lead(), Orders("me", lambda: None)
    operator = signed_in(person("operator", *CHANGES, "cut_off_clients"))
    with bouncer.client() as busy, bouncer.client("other") as idle:
        busy.execute("SELECT 1")
        said = follow(orders, order(operator, "kill"))
        assert (said.state, said.message) == ("done", "killed, and paused until it is resumed")
        for client in (busy, idle):
            with pytest.raises(psycopg.Error):
                client.execute("SELECT 1")
    assert states(bouncer) == {"app": (1, 0), "other": (1, 0)}
    until(lambda: pool.paused, "the pause to be seen")
    beat(own_pool().snapshot(), pool.snapshot())
    card = card_of(operator)
    assert "It was killed: its clients were cut off, and it stays paused until somebody resumes." in card
    assert f"kind=resume&amp;target={TARGET}" in card
    # Whoever ends that by the console is not the one who was asked.
    bouncer.console("RESUME app")
    until(lambda: states(bouncer)["app"] == (1, 0), "it to be paused again")
    served: list[Any] = []
    # What PgBouncer says at a login it has to learn from the server anew: the login itself waits.
    waiting = threading.Thread(target=lambda: served.append(ask(bouncer)))
    waiting.start()
    until(lambda: pool.snapshot().pending == 1, "the client to wait")
    assert follow(orders, order(operator, "resume")).message == "open"
    waiting.join(10)
    assert served == [(1,)]
    beat(own_pool().snapshot(), pool.snapshot())
    assert "It was killed" not in card_of(operator)
    told = Event.objects.filter(kind="command").order_by("id").values_list("author", "message")
    assert list(told) == [("operator", f"{kind} {TARGET} in all processes") for kind in ("kill", "resume")]


def test_a_disabled_one_refuses_new_clients_and_keeps_those_that_it_has_until_it_is_enabled(bouncer: Bouncer) -> None:
    pool, orders = lead(), Orders("me", lambda: None)
    operator = signed_in(person("operator", *CHANGES, "cut_off_clients"))
    with bouncer.client(autocommit=True) as there:
        there.execute("SELECT 1")
        said = follow(orders, order(operator, "disable"))
        assert (said.state, said.message) == ("done", "disabled")
        there.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="is disabled"):
            bouncer.client()
    until(lambda: pool.problem, "it to be told")
    where = f"PgBouncer at {pool.address}"
    assert pool.problem == ". ".join(
        f"{where} has '{name}' disabled, and refuses its new clients until it is enabled" for name in ("app", "other")
    )
    said = follow(orders, order(operator, "enable"))
    assert (said.state, said.message) == ("done", "enabled")
    bouncer.client().close()
    until(lambda: not pool.problem, "it to be over")


def card_of(client: Client) -> str:
    return (
        client.get(f"/pools/targets/{TARGET}/")
        .content.decode()
        .split(f'aria-label="{TARGET}"')[1]
        .split('data-key="happened"')[0]
    )


def test_it_takes_a_permission_of_its_own(bouncer: Bouncer) -> None:
    pool = lead()
    beat(own_pool().snapshot(), pool.snapshot())
    keeper = signed_in(person("keeper", *CHANGES))
    assert "kind=pause" in card_of(keeper)
    assert "kind=kill" not in card_of(keeper)
    for kind in ("kill", "disable", "enable"):
        for answer in (
            keeper.get("/pools/confirm/", {"kind": kind, "target": TARGET}),
            keeper.post("/pools/command/", {"kind": kind, "target": TARGET}),
        ):
            assert answer.status_code == 403
            assert "lacks the permission “poolmgr.cut_off_clients”" in answer.content.decode()
    # Nor is that one enough.
    cutter = signed_in(person("cutter", "view_poolprofile", "cut_off_clients"))
    assert "kind=kill" not in card_of(cutter)
    assert cutter.post("/pools/command/", {"kind": "kill", "target": TARGET}).status_code == 403
    assert not Command.objects.exists()
    both = signed_in(person("both", *CHANGES, "cut_off_clients"))
    assert all(f"kind={kind}&amp;target={TARGET}" in card_of(both) for kind in ("kill", "disable", "enable"))


def test_no_other_kind_knows_it(bouncer: Bouncer) -> None:  # P9
    operator = signed_in(person("operator", superuser=True))
    beat(own_pool().snapshot())
    card = (
        operator.get("/pools/targets/default/")
        .content.decode()
        .split('aria-label="default"')[1]
        .split('data-key="happened"')[0]
    )
    assert "kind=pause" in card
    assert "kind=kill" not in card
    page = operator.post("/pools/command/", {"kind": "kill", "target": "default"})
    assert page.status_code == 400
    assert "A target of kind PostgreSQL knows no kill; it knows recycle, pause, resume." in page.content.decode()
    with pytest.raises(commands.Denied):
        commands.send("disable", "default", "ann")


@pytest.mark.long
def test_whoever_leads_next_keeps_it_paused_and_cuts_nobody_off_again(bouncer: Bouncer) -> None:
    lead()
    follow(Orders("me", lambda: None), commands.send("kill", TARGET, "ann"))
    registry.close(TARGET)
    # Meanwhile somebody lets clients in.
    for name in bouncer.databases:
        bouncer.console(f"RESUME {name}")
    with bouncer.client() as back:
        back.execute("SELECT 1")
        pool = lead()
        with control_database():
            assert Orders("next", lambda: None).carry_out(orders_for("next"))
        until(lambda: all(paused for paused, _ in states(bouncer).values()), "the pause to be kept")
        back.execute("SELECT 1")  # it is served to its end
    pool.resume()
    assert pool.settle(10) == ""


@pytest.mark.long
def test_one_that_comes_too_late_cuts_nobody_off(bouncer: Bouncer) -> None:
    command = commands.send("kill", TARGET, "ann")
    Command.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    pool = lead()
    with bouncer.client() as there:
        there.execute("SELECT 1")
        with control_database():
            assert Orders("me", lambda: None).carry_out(orders_for("me"))
        until(lambda: all(paused for paused, _ in states(bouncer).values()), "the pause that it is too")
        there.execute("SELECT 1")
    assert not Acknowledgement.objects.filter(command=command).exists()
    pool.resume()
    assert pool.settle(10) == ""


@pytest.mark.long
def test_two_who_lead_for_a_moment_do_it_once(bouncer: Bouncer) -> None:
    command = commands.send("kill", TARGET, "ann")
    lead()
    follow(Orders("me", lambda: None), command)
    other = Orders("other", lambda: None)
    with control_database():
        other.carry_out(orders_for("other"))
        other.save()
    assert [each.process for each in Acknowledgement.objects.filter(command=command)] == ["me"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("user", "databases", "told"),
    [
        (ONLOOKER, ["app"], "the console's user may look and change nothing"),
        ("boss", ["app", "missing"], "it has no database 'missing'"),
    ],
)
def test_what_is_refused_has_failed_with_its_sentence(
    user: str, databases: list[str], told: str, settings: Any, bouncer: Bouncer
) -> None:  # P9
    declare(settings, bouncer.console_url(user), databases)
    lead()
    said = follow(Orders("me", lambda: None), commands.send("disable", TARGET, "ann"))
    assert (said.state, told in said.message) == ("failed", True), said.message


@pytest.mark.long
def test_of_two_processes_the_one_that_answers_is_killed_and_the_other_is_named(
    bouncer: Bouncer, make_bouncer: Callable[..., Bouncer], settings: Any
) -> None:  # P8
    other = make_bouncer()
    declare(settings, bouncer.console_url(), ["app"])
    given = settings.POOLMGR["TARGETS"][TARGET] | {"OTHER_URLS": [other.console_url()]}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {TARGET: given}}
    pool = lead()
    other.freeze()
    try:
        with bouncer.client() as client:
            client.execute("SELECT 1")
            said = follow(Orders("me", lambda: None), commands.send("kill", TARGET, "ann"))
            with pytest.raises(psycopg.Error):
                client.execute("SELECT 1")
    finally:
        other.thaw()
    assert said.state == "failed"
    assert said.message.startswith(f"PgBouncer at 127.0.0.1:{other.port}: ")
    assert str(bouncer.port) not in said.message
    # Nobody is let in at either until somebody resumes.
    until(lambda: pool.paused, "the pause", timeout=15)
    pool.resume()
    assert pool.settle(10) == ""


@pytest.mark.long
def test_a_frozen_one_is_told_within_a_deadline(bouncer: Bouncer) -> None:  # P8
    lead()
    bouncer.freeze()
    try:
        said = follow(Orders("me", lambda: None), commands.send("kill", TARGET, "ann"))
        assert (said.state, "does not answer" in said.message) == ("failed", True)
    finally:
        bouncer.thaw()
    # It is a pause too, which comes true when it can.
    pool = registry.get(TARGET)
    assert pool is not None
    until(lambda: pool.paused, "the pause", timeout=15)
    pool.resume()
