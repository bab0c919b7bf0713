"""What an edit would lead to is told before it is saved, from the real fleet and the real server, and nothing is saved before
its author has confirmed it: in the admin, on the console, in a terminal."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import Client

from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.models import HealthCheck, PoolProfile, ProfileRevision
from tests.agents import command, without_agent
from tests.waiting import until

from .console import beat, own_fleet, person, signed_in
from .control_fleet import TestFleet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

Start = Callable[..., None]
LIST = "/admin/poolmgr/poolprofile/"
SETTINGS = "/pools/targets/default/settings/"
#: A query that parses, and that no server can answer.
BROKEN = "SELECT 1 FROM nowhere"


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def start(postgres: Any, redis_server: Any, settings: Any) -> Iterator[Start]:
    """Two web processes of which the figures are known, and are those that the test waits for."""
    poolmgr = {"NAMESPACE": f"t{uuid.uuid4().hex[:8]}", "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.2, "ROLE": "web"}
    poolmgr["REDIS_URL"] = redis_server.url()
    without_agent()
    settings.POOLMGR = {**poolmgr, "AGENT": False}
    fleet = TestFleet(postgres, {**poolmgr, "AGENT": True})

    def begin(processes: int, until_so: Callable[[Any], object], **environment: str) -> None:
        fleet.start(processes, **environment)
        until(lambda: until_so(read_fleet().targets[0]), "the figures", 20)

    yield begin
    fleet.stop()
    # A backend that sleeps does not see that its client is gone.
    ours = "datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'poolmgr:web:%'"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    connection.close()


@pytest.fixture
def alone(settings: Any, redis_server: Any) -> None:
    """A fleet in which nobody is but whom the test lets report."""
    own_fleet(settings, redis_server)


def profile(**values: Any) -> PoolProfile:
    made = PoolProfile(target="default", **{"max_size": 8, **values})
    save_profile(made, "ann", "as it was")
    return made


def values(row: PoolProfile, **changes: Any) -> dict[str, str]:
    given = {"note": "", "enabled": "on", "seen_revision": row.revision, **row.values(), **changes}
    return {name: str(value) for name, value in given.items()}


def consequences(page: str) -> list[tuple[str, str]]:
    """How grave each is, and what it says."""
    found = re.findall(r'<li class="pm-foreseen-(\w+)">.*?<span>(.*?)</span></li>', page, re.S)
    return [(severity, unescape(re.sub(r"<[^>]+>", "", sentence))) for severity, sentence in found]


def asked(page: str) -> str:
    """What the box says that confirms it; "" where none is shown."""
    found = re.search(r'name="confirmed(?:_save)?" value="([^"]*)"', page)
    return unescape(found[1]) if found else ""


def is_asked_and_then_saved(operator: Client, address: str, row: PoolProfile, **changes: Any) -> str:
    """Send it, see that nothing is saved, confirm it, see that it is: the consequence that was asked about."""
    page = operator.post(address, values(row, **changes)).content.decode()
    row.refresh_from_db()
    assert row.revision == 1, "saved without having been confirmed"
    [sentence] = [sentence for severity, sentence in consequences(page) if severity == "confirm"]
    assert operator.post(address, values(row, **changes, confirmed="nonsense")).status_code == 200
    answer = operator.post(address, values(row, **changes, confirmed=asked(page)))
    assert answer.status_code == 302, consequences(answer.content.decode())
    row.refresh_from_db()
    assert {name: getattr(row, name) for name in changes} == changes
    return sentence


# -- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("console", [False, True])
def test_more_than_the_server_has_room_for_is_asked_about(operator: Client, start: Start, console: bool) -> None:
    start(2, lambda target: target.processes == 2)
    row = profile()
    address = f"{SETTINGS}?role=" if console else f"{LIST}{row.pk}/change/"
    said = is_asked_and_then_saved(operator, address, row, max_size=500)
    found = re.fullmatch(
        r"2 processes × 500 = 1,000 connections are more than the (\d+) that the server leaves free "  # noqa: RUF001
        r"\(100 in all, 3 reserved, (\d+) used by others\)\.",
        said,
    )
    assert found, said
    assert int(found[1]) + int(found[2]) == 97


def test_who_finds_no_room_in_a_smaller_pool_is_told_from_live_figures(operator: Client, start: Start) -> None:
    start(2, lambda target: target.used == 6, TEST_SLEEP="30")
    row = profile()
    until(lambda: read_fleet().targets[0].max_size == 8, "the profile")
    said = is_asked_and_then_saved(operator, f"{LIST}{row.pk}/change/", row, max_size=2)
    assert said == "web shrinks from 8 to 2 in 2 processes: 6 are in use and 0 wait; at this demand 2 would wait."


@pytest.mark.long
def test_a_timeout_below_what_requests_wait_for_tells_how_many_would_have_failed(
    operator: Client, start: Start
) -> None:
    size = {"TEST_POOL": '{"min_size": 1, "max_size": 1}', "TEST_THREADS": "4", "TEST_SLEEP": "0.3", "TEST_PAUSE": "0"}
    row = profile(max_size=1, min_size=1)
    start(1, lambda target: target.wait.count > 10, **size)
    said = is_asked_and_then_saved(operator, f"{LIST}{row.pk}/change/", row, connection_timeout=0.5)
    found = re.fullmatch(
        r"web: of the last minute's (\d+) requests (\d+) waited longer than 0.5 s, and would have failed\.", said
    )
    assert found, said
    assert 0 < int(found[2]) <= int(found[1])


@pytest.mark.long
def test_statement_mode_is_asked_about_with_what_of_the_site_transacts(operator: Client, alone: None) -> None:
    row = profile()
    beat()
    said = is_asked_and_then_saved(operator, f"{LIST}{row.pk}/change/", row, pool_mode="statement")
    assert said.startswith("Statement mode refuses every transaction on “default”: atomic()")
    assert "On this site: SESSION_ENGINE keeps sessions in it" in said


@pytest.mark.long
def test_a_budget_below_one_for_each_process_is_asked_about(operator: Client, start: Start) -> None:
    start(2, lambda target: target.processes == 2)
    row = profile(min_size=0)
    said = is_asked_and_then_saved(operator, f"{LIST}{row.pk}/change/", row, budget=1)
    assert said == "2 processes may hold 1 connection each whatever the budget, and it is 1; raise it or run fewer."


def test_what_is_harmless_is_saved_at_once_and_told_after_it(operator: Client, start: Start) -> None:
    start(2, lambda target: target.used == 6, TEST_SLEEP="600")
    row = profile()
    given = values(row, max_lifetime=1800, idle_timeout=5, max_size=9)
    page = operator.post(f"{LIST}{row.pk}/change/", given, follow=True).content.decode()
    row.refresh_from_db()
    assert (row.max_size, row.max_lifetime) == (9, 1800)
    # A pool may have opened one more than its borrowers took, which then lies idle.
    for said in (
        r"2 processes follow it \(web 2\): max_size 8 → 9, idle_timeout 600 → 5, max_lifetime 3600 → 1800\.",
        r"web: none of [678] connections is older than 1800 s yet\.",
        r"web: (no connection is idle above min_size 2, so that none is closed now"
        r"|up to [12] idle connections? above min_size 2 (is|are) closed once unused for 5 s)\.",
        r"2 processes × 9 = 18 connections at most, and the server leaves",  # noqa: RUF001
    ):
        assert re.search(said, page), said


# -- the validation query ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("console", [False, True])
def test_a_validation_query_that_fails_is_refused_with_the_servers_words(
    operator: Client, alone: None, console: bool
) -> None:
    row = profile()
    address = f"{SETTINGS}?role=" if console else f"{LIST}{row.pk}/change/"
    page = unescape(operator.post(address, values(row, validation_query=BROKEN)).content.decode())
    said = 'The validation query was tried, and fails: relation "nowhere" does not exist.'
    assert re.search(rf'field-validation_query errors">\s*<ul class="errorlist"[^>]*><li>{re.escape(said)}</li>', page)
    assert not asked(page), "what can't be saved is not to be confirmed"
    # No confirmation helps.
    operator.post(address, values(row, validation_query=BROKEN, confirmed="query||0 query|x|9"))
    row.refresh_from_db()
    assert row.revision == 1
    answer = operator.post(address, values(row, validation_query="SELECT count(*) FROM auth_user"))
    assert answer.status_code == 302


def test_what_the_server_read_is_not_repeated(operator: Client, alone: None) -> None:  # P13
    person("planted-Pa55")
    row = profile()
    query = "SELECT username::int FROM auth_user WHERE username LIKE 'planted%'"
    page = unescape(operator.post(f"{LIST}{row.pk}/change/", values(row, validation_query=query)).content.decode())
    assert "fails: the server refuses with SQLSTATE 22P02 (InvalidTextRepresentation)." in page
    assert "planted-Pa55" not in page


def test_where_the_server_is_away_a_new_query_is_asked_about_and_the_rest_is_called_unknown(
    operator: Client, alone: None, settings: Any
) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {"reports": {"KIND": "sqlalchemy", "URL": url}}}
    row = PoolProfile(target="reports", min_size=0)
    save_profile(row, "ann")
    address = "/pools/targets/reports/settings/"
    given = values(row, validation_query="SELECT 2", max_size=12)
    del given["pool_mode"]
    page = operator.post(address, given).content.decode()
    row.refresh_from_db()
    assert row.revision == 1
    [untried] = [sentence for severity, sentence in consequences(page) if severity == "confirm"]
    assert untried == "The validation query could not be tried: Nothing listens at the address: 127.0.0.1:1/nowhere."
    [room] = [sentence for severity, sentence in consequences(page) if severity == "unknown"]
    assert "whether the server has room is unknown: Nothing listens at the address" in room
    assert operator.post(address, {**given, "confirmed": asked(page)}).status_code == 302
    row.refresh_from_db()
    assert row.validation_query == "SELECT 2"
    # What rules already is not tried again, so that nobody is kept from an edit by an outage.
    assert operator.post(address, {**given, "max_size": "3", "seen_revision": "2"}).status_code == 302


# -- the confirmation -------------------------------------------------------------------------------------------------


def room_for(free: int) -> None:
    HealthCheck.objects.create(
        target="default", state="ok", message="", server_used=97 - free, ours=0, server_max=100, server_reserved=3
    )


def test_a_worse_consequence_than_the_one_that_was_confirmed_asks_again(operator: Client, alone: None) -> None:
    row = profile()
    beat(uid="one")
    beat(uid="two")
    room_for(90)
    address = f"{LIST}{row.pk}/change/"
    confirmed = asked(operator.post(address, values(row, max_size=50)).content.decode())
    # Somebody else takes what was free, or the author means more by now.
    room_for(20)
    page = operator.post(address, values(row, max_size=50, confirmed=confirmed)).content.decode()
    assert "100 connections are more than the 20 that the server leaves free" in page
    row.refresh_from_db()
    assert row.revision == 1
    assert operator.post(address, values(row, max_size=50, confirmed=asked(page))).status_code == 302


def test_an_edit_of_somebody_else_is_refused_whatever_was_confirmed(operator: Client, alone: None) -> None:
    row = profile()
    room_for(5)
    for address in (f"{LIST}{row.pk}/change/", f"{SETTINGS}?role="):
        row.refresh_from_db()
        given = values(row, max_size=50)
        confirmed = asked(operator.post(address, given).content.decode())
        assert confirmed
        row.idle_timeout += 1
        save_profile(row, "bob")
        page = operator.post(address, {**given, "confirmed": confirmed}).content.decode()
        assert f"bob saved revision {row.revision} of this profile while you were editing." in page
        row.refresh_from_db()
        assert row.max_size == 8


@pytest.mark.parametrize("new", [False, True])
def test_the_button_that_asks_saves_nothing_and_the_script_gets_the_same_by_itself(
    operator: Client, alone: None, new: bool
) -> None:
    room_for(5)
    row = PoolProfile(target="default", revision=0) if new else profile()
    given = {**values(row, max_size=50), "target": "default", "role": ""}
    address = f"{LIST}add/" if new else f"{LIST}{row.pk}/change/"
    fragments = [f"{LIST}foresee/" if new else f"{LIST}{row.pk}/foresee/", f"{SETTINGS}foresee/?role="]
    page = operator.post(address, {**given, "_foresee": "", "confirmed": "room||9999"}).content.decode()
    assert "Nothing is saved yet. A save would lead to this:" in page
    told = consequences(page)
    assert [severity for severity, _ in told][:1] == ["confirm"]
    for each in fragments:
        fragment = operator.post(each, {**given, "_foresee": ""}).content.decode()
        assert consequences(fragment) == told
        assert "<html" not in fragment
        wrong = operator.post(each, {**given, "_foresee": "", "max_size": "0"}).content.decode()
        assert [severity for severity, _ in consequences(wrong)] == ["refuse"]
        assert operator.get(each).status_code == 405
    assert not ProfileRevision.objects.filter(values__max_size=50).exists()
    looker = signed_in(person("looker", "view_poolprofile"))
    assert {looker.post(each, given).status_code for each in fragments} == {403}


# -- the other ways to save -------------------------------------------------------------------------------------------


def test_a_restore_is_asked_about_too(operator: Client, alone: None) -> None:
    row = profile(max_size=90)
    row.max_size = 8
    save_profile(row, "ann")
    room_for(20)
    address = f"/admin/poolmgr/profilerevision/{ProfileRevision.objects.get(number=1).pk}/restore/"
    page = operator.get(address).content.decode()
    assert consequences(page)[0][1].startswith("1 process × 90 = 90 connections are more than the 20")  # noqa: RUF001
    assert "Nothing was restored: confirm" in operator.post(address).content.decode()
    row.refresh_from_db()
    assert row.max_size == 8
    assert operator.post(address, {"confirmed": asked(page)}).status_code == 302
    row.refresh_from_db()
    assert row.max_size == 90


@pytest.mark.long
def test_a_page_that_deletes_says_what_that_leads_to(operator: Client, start: Start) -> None:
    start(2, lambda target: target.used == 10, TEST_SLEEP="30", TEST_THREADS="5", TEST_POOL='{"max_size": 5}')
    row = profile(max_size=20)
    until(lambda: read_fleet().targets[0].max_size == 20, "the profile")
    page = operator.get(f"{LIST}{row.pk}/delete/").content.decode()
    # tests.settings: what rules without it lets each have 8.
    assert consequences(page)[1] == (
        "info", "web shrinks from 20 to 8 in 2 processes: 10 are in use, nobody more would wait; 0 idle connections are closed."
    )  # fmt: skip


@pytest.mark.parametrize("selected", [False, True])
def test_a_deletion_is_asked_about_too(operator: Client, alone: None, selected: bool) -> None:
    row = profile(max_size=2)
    beat()
    # tests.settings: what rules without it lets each have 8.
    room_for(5)
    address = LIST if selected else f"{LIST}{row.pk}/delete/"
    sent: dict[str, Any] = {"action": "delete_selected", "_selected_action": [row.pk]} if selected else {}
    page = (operator.post(address, sent) if selected else operator.get(address)).content.decode()
    [sentence] = [sentence for severity, sentence in consequences(page) if severity == "confirm"]
    assert sentence.startswith("1 process × 8 = 8 connections are more than the 5")  # noqa: RUF001
    for confirmed in ({}, {"confirmed": "nonsense"}):
        answer = operator.post(address, {**sent, "post": "yes", **confirmed})
        assert (answer.status_code, "Nothing was deleted: confirm" in answer.content.decode()) == (200, True)
        assert PoolProfile.objects.exists()
    assert operator.post(address, {**sent, "post": "yes", "confirmed": asked(page)}).status_code == 302
    assert not PoolProfile.objects.exists()


@pytest.mark.long
def test_a_copy_for_another_role_is_asked_about_too(operator: Client, alone: None) -> None:
    profile()
    web = PoolProfile(target="default", role="web", max_size=90)
    save_profile(web, "ann")
    beat(role="worker")
    room_for(20)
    action = {"action": "duplicate", "_selected_action": str(web.pk), "confirmed": "yes", "role": "worker"}
    page = operator.post(LIST, action).content.decode()
    assert [severity for severity, _ in consequences(page)][:1] == ["confirm"]
    assert not PoolProfile.objects.filter(role="worker").exists()
    operator.post(LIST, {**action, "confirmed_save": asked(page)})
    assert PoolProfile.objects.get(role="worker").max_size == 90


def test_a_terminal_says_it_and_saves_with_yes_alone(alone: None) -> None:
    row = profile()
    beat()
    room_for(20)
    with pytest.raises(CommandError, match=r"Nothing was saved; --yes saves it all the same:\n! 1 process × 90"):  # noqa: RUF001
        command("poolctl", "set", "default", "max_size=90")
    with pytest.raises(CommandError, match=r"can't be as it is:\nx The validation query was tried, and fails"):
        command("poolctl", "set", "default", f"validation_query={BROKEN}", "--yes")
    row.refresh_from_db()
    assert row.revision == 1
    command("poolctl", "set", "default", "max_size=90", "--yes")
    row.refresh_from_db()
    assert row.max_size == 90
