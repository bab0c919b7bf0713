"""What an operator sees of a PgBouncer: its form, its card, its figures, and what becomes of commands."""

import re
import threading
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from msgspec.structs import replace

import poolmgr
from poolmgr.control.access import control_database
from poolmgr.control.commanding import commands
from poolmgr.control.editing import profiles
from poolmgr.control.following.orders import Orders, orders_for
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.health import check_target
from poolmgr.exceptions import ConfigurationError
from poolmgr.models import Acknowledgement, PoolProfile
from poolmgr.pools import registry
from poolmgr.targets.known import address_of, kind_of, manager
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.pool import BouncerPool
from poolsite.demo.servers import EmbeddedRedis
from tests.bouncer import ONLOOKER, PASSWORD, STRANGER, Bouncer
from tests.integration.console import beat, own_fleet, own_pool, person, signed_in
from tests.integration.test_admin_kinds import offered, value_of
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "bouncer"


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": ""})


@pytest.fixture(autouse=True)
def _declared(settings: Any, redis_server: EmbeddedRedis, bouncer: Bouncer) -> Iterator[None]:
    own_fleet(settings, redis_server)
    declare(settings, bouncer)
    yield
    registry.close(TARGET)
    bouncer.console("RELOAD")
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


def declare(settings: Any, bouncer: Bouncer, **more: Any) -> None:
    given = {"KIND": "pgbouncer", "URL": bouncer.console_url(), "DATABASES": ["app"], **more}
    settings.POOLMGR = {**settings.POOLMGR, "HEARTBEAT_INTERVAL": 0.2, "TARGETS": {TARGET: given}}


@pytest.fixture
def led() -> BouncerPool:
    """As in the process that leads, after a first look."""
    return lead()


def lead() -> BouncerPool:
    pool = registry.get_or_make(TARGET, lambda: manager(TARGET))
    assert isinstance(pool, BouncerPool)
    pool.lead(inf)
    until(lambda: pool.instances[0].picture, "a first look")
    return pool


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


def test_it_is_known_by_its_kind_and_address_and_has_no_pool_for_the_site_s_code(bouncer: Bouncer) -> None:
    assert kind_of(TARGET) is PGBOUNCER
    assert address_of(TARGET) == f"127.0.0.1:{bouncer.port}"
    with pytest.raises(ConfigurationError) as caught:
        poolmgr.pool(TARGET)
    assert str(caught.value) == (
        "'bouncer' is a PgBouncer, whose pools are its own: connect to it as to a database, such as by DATABASES"
    )


def test_the_form_begins_with_what_pgbouncer_has_and_offers_what_it_honours(operator: Client, led: BouncerPool) -> None:
    beat(own_pool().snapshot(), led.snapshot())
    page = operator.get(f"/admin/poolmgr/poolprofile/add/?target={TARGET}").content.decode()
    assert offered(page) == {*PGBOUNCER.honours}
    assert "server_lifetime" in page
    # Not its defaults: whoever saves changes nothing that they do not mean to.
    assert value_of(page, "connection_timeout") == "120"
    assert re.search(r'<option value="transaction" selected', page)
    given = {"target": TARGET, "role": "", "enabled": "on", "note": ""}
    given |= {name: str(getattr(PGBOUNCER.defaults, name)) for name in PGBOUNCER.honours}
    answer = operator.post("/admin/poolmgr/poolprofile/add/", {**given, "role": "web"})
    assert "whichever process leads, whatever its role" in answer.content.decode()
    answer = operator.post("/admin/poolmgr/poolprofile/add/", {**given, "connection_timeout": "1.5"})
    assert "1.5 is not a whole number of seconds, and PgBouncer knows no others" in answer.content.decode()
    assert operator.post("/admin/poolmgr/poolprofile/add/", {**given, "max_size": "7"}).status_code == 302
    assert PoolProfile.objects.get(target=TARGET).spec() == PGBOUNCER.make_spec({"max_size": 7})


def test_a_profile_for_one_role_is_refused_whichever_way_it_comes(operator: Client) -> None:
    profile = PoolProfile(target=TARGET, role="web", **PGBOUNCER.defaults.to_dict())
    with pytest.raises(ValidationError, match="whatever its role"):
        profile.full_clean()
    profile = PoolProfile(target=TARGET, **PGBOUNCER.defaults.to_dict())
    profiles.save_profile(profile, "ann")
    action = {"action": "duplicate", "_selected_action": profile.pk, "confirmed": "yes", "role": "web"}
    page = operator.post("/admin/poolmgr/poolprofile/", action, follow=True).content.decode()
    assert "“bouncer”: It is managed by whichever process leads" in page
    assert PoolProfile.objects.count() == 1


def test_the_card_shows_means_and_no_figure_that_nobody_counts(
    operator: Client, led: BouncerPool, bouncer: Bouncer
) -> None:  # P10
    with bouncer.client(application_name="a_client") as client:
        client.execute("SELECT pg_sleep(0.01)")
        until(lambda: led.snapshot().used and led.snapshot().holders, "the client to be seen")
        check_target(TARGET).save()
        beat(own_pool().snapshot(), led.snapshot())
        page = operator.get("/pools/targets/bouncer/").content.decode()
    card = page.split('aria-label="bouncer"')[1].split('data-key="happened"')[0]
    assert "PgBouncer" in card
    assert "a_client" in card
    assert "Mean wait" in card
    assert "Mean transaction" in card
    assert "Timeouts" not in card.split("<table")[0]
    assert "p95" not in card.split("pm-table")[0]
    assert re.search(r"<strong>\d+</strong> of 100 clients", card)
    assert "kind=pause&amp;target=bouncer" in card
    text = operator.get("/pools/metrics").content.decode()
    mine = [line for line in text.splitlines() if 'name="bouncer"' in line]
    assert any(line.startswith("db_client_connection_count{") for line in mine)
    assert not [line for line in mine if "_bucket" in line or "timeouts_total" in line]


def test_a_problem_of_pgbouncer_is_a_warning_on_its_target_alone(
    operator: Client, settings: Any, bouncer: Bouncer
) -> None:
    declare(settings, bouncer, DATABASES=["app", "missing"])
    pool = lead()
    until(lambda: pool.problem, "the problem to be found")
    # As the agent puts the two together.
    beat(own_pool().snapshot(), replace(pool.snapshot(), problem=pool.problem))
    views = {view.target: view for view in read_fleet().targets}
    assert views[TARGET].of_pools.state == "warning"
    assert views[TARGET].of_pools.sentence == f"PgBouncer at {pool.address} has no database 'missing'."
    assert "missing" not in views["default"].of_pools.sentence


def test_a_health_check_tells_whether_it_answers_and_how_many_clients_it_has_room_for(bouncer: Bouncer) -> None:
    with bouncer.client():
        check = check_target(TARGET)
    assert (check.state, check.server_version.split(" ")[0], check.server_max) == ("ok", "PgBouncer", 100)
    assert check.server_used is not None
    assert check.server_used >= 1
    assert check.ours is None  # who they are is not known
    assert check.connect_time is not None
    assert check.query_time is not None


@pytest.mark.parametrize(
    ("user", "databases", "state", "told"),
    [
        (STRANGER, ["app"], "critical", "PgBouncer does not let this user into its console"),
        (ONLOOKER, ["app"], "ok", "clients used"),
        (ONLOOKER, ["app", "missing"], "critical", "PgBouncer has no database 'missing'"),
    ],
)
def test_a_health_check_says_what_is_wrong(
    user: str, databases: list[str], state: str, told: str, settings: Any, bouncer: Bouncer
) -> None:  # P9, P13
    declare(settings, bouncer, URL=bouncer.console_url(user), DATABASES=databases)
    check = check_target(TARGET)
    assert (check.state, told in check.message) == (state, True), check.message
    assert PASSWORD not in check.message


def test_a_health_check_warns_of_a_client_that_waits_for_long(bouncer: Bouncer, led: BouncerPool) -> None:
    bouncer.client().close()  # what it says at a login it has to learn from the server once
    led.pause()
    assert led.settle(10) == ""
    with bouncer.client(autocommit=True) as client:
        waiting = threading.Thread(target=lambda: client.execute("SELECT 1"))
        waiting.start()
        message = until(
            lambda: "has waited for" in (found := check_target(TARGET)).message and found.message, "the warning"
        )
        assert message.startswith("A client has waited for ")
        led.resume()
        assert led.settle(10) == ""
        waiting.join(10)


def test_a_pgbouncer_that_takes_no_more_clients_is_critical(
    settings: Any, make_bouncer: Callable[..., Bouncer]
) -> None:  # P9
    full = make_bouncer({"app": ""}, max_client_conn=2)
    declare(settings, full)
    with full.client(), full.client():
        check = check_target(TARGET)
        assert check.state == "critical", check.message
        assert "client" in check.message


def test_a_frozen_pgbouncer_keeps_nobody_waiting_past_a_deadline(led: BouncerPool, bouncer: Bouncer) -> None:  # P8
    orders = Orders("me", lambda: None)
    bouncer.freeze()
    try:
        check = check_target(TARGET, timeout=0.5)
        assert check.state == "critical"
        assert "does not answer" in check.message
        began = monotonic()
        led.snapshot(), led.load(), led.apply(led.desired), led.paused
        assert monotonic() - began < 0.5
        assert carry_out("recycle", orders).state == "failed"
        said = carry_out("pause", orders)
        assert (said.state, "does not answer" in said.message) == ("failed", True)
    finally:
        bouncer.thaw()
    # What was asked holds, and comes true when it can.
    until(lambda: led.paused, "the pause", timeout=15)
    assert carry_out("resume", orders).state == "done"


def carry_out(kind: str, orders: Orders) -> Acknowledgement:
    with control_database():
        command = commands.send(kind, TARGET, "ann")
        assert orders.carry_out(orders_for("me"))
        until(lambda: _said(command, orders), "the answer", timeout=20)
        return Acknowledgement.objects.get(command=command)


def _said(command: Any, orders: Orders) -> bool:
    orders.save()
    return Acknowledgement.objects.filter(command=command).exclude(state="running").exists()


def test_a_pause_and_a_resume_are_done_when_pgbouncer_says_so(led: BouncerPool, bouncer: Bouncer) -> None:
    orders = Orders("me", lambda: None)
    said = carry_out("pause", orders)
    assert (said.state, said.message) == ("done", "paused")
    assert [row["paused"] for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"] == [1]
    said = carry_out("resume", orders)
    assert (said.state, said.message) == ("done", "open")
    assert [row["paused"] for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"] == [0]
    assert carry_out("recycle", orders).state == "done"


def test_a_command_that_pgbouncer_refuses_has_failed_with_its_sentence(settings: Any, bouncer: Bouncer) -> None:  # P9
    declare(settings, bouncer, URL=bouncer.console_url(ONLOOKER))
    pool = lead()
    said = carry_out("pause", Orders("me", lambda: None))
    assert said.state == "failed"
    assert "did not PAUSE: the console's user may look and change nothing" in said.message
    # It is not blind for that.
    assert not pool.snapshot().last_error
    assert "did not PAUSE" in pool.problem


def test_a_resume_that_another_has_done_ends_what_this_one_keeps_paused(led: BouncerPool) -> None:
    orders = Orders("me", lambda: None)
    carry_out("pause", orders)
    with control_database():
        # For a moment two may lead, each by another store.
        command = commands.send("resume", TARGET, "ann")
        Acknowledgement.objects.create(command=command, process="other", state="done")
        assert orders.carry_out(orders_for("me"))
    assert led.settle(10) == ""
    until(lambda: not led.paused, "the resume")
    first = led.instances[0].picture
    until(lambda: led.instances[0].picture is not first, "another round")
    assert not led.paused


def test_whoever_leads_next_keeps_a_pause_and_does_not_end_another_s(led: BouncerPool, bouncer: Bouncer) -> None:
    carry_out("pause", Orders("me", lambda: None))
    registry.close(TARGET)
    lead()
    with control_database():
        again = Orders("next", lambda: None)
        assert again.carry_out(orders_for("next"))
    pool = registry.get(TARGET)
    assert pool is not None
    until(lambda: pool.paused, "the pause to be kept")
    carry_out("resume", again)
    # Since then somebody pauses on the console; the resume of long ago is not for that.
    bouncer.console("PAUSE app")
    registry.close(TARGET)
    led = lead()
    with control_database():
        third = Orders("third", lambda: None)
        third.carry_out(orders_for("third"))
    first = led.instances[0].picture
    until(lambda: led.instances[0].picture is not first, "another round")
    assert led.paused
    bouncer.console("RESUME app")
