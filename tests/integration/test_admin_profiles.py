"""Profiles in the admin: every refusal at its field, every save a revision, every right respected."""

from __future__ import annotations

import re
import threading
from typing import Any, LiteralString

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from poolmgr.control.editing.profiles import save_profile
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.models import Command, Episode, Event, HealthCheck, PoolProfile, ProfileRevision
from poolmgr.pools.spec import FIELDS
from poolsite.demo.servers import EmbeddedPostgres
from tests.waiting import until

from .console import beat, followed, own_fleet, own_pool, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/poolmgr/poolprofile/"
ADD = f"{LIST}add/"


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def viewer() -> Client:
    return signed_in(person("viewer", "view_poolprofile", "view_profilerevision", "view_event", "view_command"))


@pytest.fixture
def profile() -> PoolProfile:
    made = PoolProfile(target="default", max_size=10)
    save_profile(made, "ann", "as it was")
    return made


def change(profile: PoolProfile) -> str:
    return f"{LIST}{profile.pk}/change/"


def values(**changes: Any) -> dict[str, str]:
    """What the form posts."""
    given = {"target": "default", "role": "", "enabled": "on", "note": "", **PoolProfile().values(), **changes}
    return {name: str(value) for name, value in given.items()}


def errors_at(page: str, field: str) -> str:
    """The text of the error list in the row of ``field``."""
    return re.sub(r"<[^>]+>", "", error_list_at(page, field)).strip()


def error_list_at(page: str, field: str) -> str:
    row = re.search(
        rf'<div class="pm-set-row[^"]*field-{field}[^"]*">(.*?)</div>\s*(?=<div class="pm-set-row|</details>|</fieldset>)',
        page,
        re.S,
    )
    assert row, f"no row for {field}"
    found = re.search(r'<ul class="errorlist"[^>]*>(.*?)</ul>', row[1], re.S)
    return found[1] if found else ""


# -- saving -----------------------------------------------------------------------------------------------------------


def test_a_save_is_a_revision_with_its_author(operator: Client, profile: PoolProfile) -> None:
    answer = operator.post(change(profile), values(max_size=12, note="more room", seen_revision=1))
    assert answer.status_code == 302
    profile.refresh_from_db()
    assert (profile.max_size, profile.revision, profile.updated_by) == (12, 2, "operator")
    revision = ProfileRevision.objects.get(number=2)
    assert (revision.author, revision.changes, revision.reason) == ("operator", {"max_size": [10, 12]}, "more room")
    assert Event.objects.filter(author="operator", message__contains="max_size 10 → 12").exists()


def test_a_note_is_of_its_edit_alone_and_is_empty_at_the_next(operator: Client, profile: PoolProfile) -> None:
    for size, note in ((12, "more room"), (13, ""), (14, "for the holidays")):
        page = operator.get(change(profile)).content.decode()
        found = re.search(r'<input[^>]*name="note"[^>]*>', page)
        assert found
        assert "value=" not in found[0]
        profile.refresh_from_db()
        operator.post(change(profile), values(max_size=size, note=note, seen_revision=profile.revision))
    reasons = list(ProfileRevision.objects.order_by("number").values_list("reason", flat=True))
    assert reasons == ["as it was", "more room", "", "for the holidays"]
    answer = operator.post(change(profile), values(max_size=14, note="nothing", seen_revision=4))
    assert "no revision would keep this note" in errors_at(answer.content.decode(), "note")
    page = operator.get(f"{LIST}{profile.pk}/history/").content.decode()
    assert all(reason in page for reason in reasons)


def test_a_note_with_a_password_is_refused_and_not_repeated_in_a_row(
    operator: Client, profile: PoolProfile
) -> None:  # P13
    note = "moved to postgresql://site:planted-Pa55@replica/site"
    answer = operator.post(change(profile), values(max_size=12, note=note, seen_revision=1))
    assert "It seems to hold a password" in errors_at(answer.content.decode(), "note")
    profile.max_size = 12
    save_profile(profile, "ann", note)
    rows = [*ProfileRevision.objects.values(), *Event.objects.values(), *PoolProfile.objects.values()]
    assert "planted-Pa55" not in repr(rows)
    assert ProfileRevision.objects.get(number=2).reason == "moved to postgresql://***@replica/site"


def test_a_validation_query_with_a_password_is_refused_without_being_repeated(
    operator: Client, profile: PoolProfile
) -> None:  # P13
    query = "SELECT 1 -- password=planted-Pa55"
    answer = operator.post(change(profile), values(validation_query=query, seen_revision=1))
    found = errors_at(answer.content.decode(), "validation_query")
    assert "it seems to hold a password" in found
    assert "planted-Pa55" not in found
    assert not PoolProfile.objects.filter(validation_query__contains="planted").exists()


def test_target_and_role_of_a_profile_stay(operator: Client, profile: PoolProfile) -> None:
    operator.post(change(profile), values(target="other", role="web"))
    profile.refresh_from_db()
    assert (profile.target, profile.role) == ("default", "")


def test_a_deleted_profile_is_deleted_by_somebody(operator: Client, profile: PoolProfile) -> None:
    operator.post(f"{LIST}{profile.pk}/delete/", {"post": "yes"})
    assert not PoolProfile.objects.exists()
    assert Event.objects.filter(author="operator", message__contains="deleted").count() == 1


def test_the_bulk_delete_action_is_heard_of_too(operator: Client, profile: PoolProfile) -> None:
    data = {"action": "delete_selected", "_selected_action": [profile.pk], "post": "yes"}
    operator.post(LIST, data)
    assert not PoolProfile.objects.exists()
    assert Event.objects.filter(author="operator", message__contains="deleted").count() == 1


def test_an_edit_of_somebody_else_is_not_overwritten_unseen(operator: Client, profile: PoolProfile) -> None:
    profile.max_size = 20
    save_profile(profile, "bob")
    mine = values(max_size=12, seen_revision=1)
    answer = operator.post(change(profile), mine)
    page = answer.content.decode()
    assert "bob saved revision 2 of this profile while you were editing." in page
    profile.refresh_from_db()
    assert profile.max_size == 20
    # The page that said so lets the operator insist.
    seen = re.search(r'name="seen_revision" value="(\d+)"', page)
    assert seen is not None
    assert operator.post(change(profile), {**mine, "seen_revision": seen[1]}).status_code == 302
    profile.refresh_from_db()
    assert profile.max_size == 12


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (
            "UPDATE poolmgr_poolprofile SET max_size = 20, revision = 2, updated_by = 'bob'",
            "bob saved revision 2 of this profile while you were editing.",
        ),
        ("DELETE FROM poolmgr_poolprofile", "Perhaps it was deleted?"),
    ],
)
def test_of_two_who_save_at_the_same_moment_the_second_hears_of_the_first(
    operator: Client, profile: PoolProfile, postgres: EmbeddedPostgres, meanwhile: LiteralString, said: str
) -> None:
    pages: list[str] = []

    def save() -> None:
        answer = operator.post(change(profile), values(max_size=12, seen_revision=1), follow=True)
        pages.append(answer.content.decode())
        connection.close()

    with psycopg.connect(postgres.url(str(connection.settings_dict["NAME"]))) as other:
        # Not committed, so that the second's form can't see it.
        other.execute(meanwhile)
        saving = threading.Thread(target=save)
        saving.start()
        with psycopg.connect(other.info.dsn, password=other.info.password, autocommit=True) as looking:
            waiting = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            until(lambda: looking.execute(waiting, [other.info.backend_pid]).fetchone())
    saving.join()
    assert said in pages[0]
    found = PoolProfile.objects.first()
    assert found is None or (found.max_size, found.revision) == (20, 2)
    assert not ProfileRevision.objects.filter(number=2).exists()


def test_the_form_of_a_new_profile_says_what_statement_mode_would_break(operator: Client, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    page = operator.get(f"{ADD}?target=default").content.decode()
    assert "would break this site: SESSION_ENGINE keeps sessions in it" in page


# -- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "wrong", "reason"),
    [
        ("min_size", {"min_size": 11, "max_size": 10}, "11 is more than max_size (10)"),
        ("max_size", {"max_size": 0}, "0 is not between 1 and 10000"),
        ("max_size", {"max_size": -1}, "-1 is not between 1 and 10000"),
        ("max_size", {"max_size": 10**20}, f"{10**20} is not between 1 and 10000"),
        ("min_size", {"min_size": 10**20}, f"{10**20} is not between 0 and 10000"),
        ("budget", {"budget": 10**20}, f"{10**20} is not between 0 and 1000000"),
        ("max_waiting", {"max_waiting": 10**20}, f"{10**20} is not between 0 and 1000000"),
        ("max_size", {"max_size": ""}, "This field is required."),
        ("max_size", {"max_size": "many"}, "Enter a whole number."),
        ("budget", {"budget": -1}, "-1 is not between 0 and 1000000"),
        ("budget", {"budget": 1, "min_size": 2}, "less than the min_size (2)"),
        ("max_waiting", {"max_waiting": -1}, "-1 is not between 0 and 1000000"),
        ("connection_timeout", {"connection_timeout": 0}, "is not between 0.05 and"),
        ("connection_timeout", {"connection_timeout": 1e300}, "1e+300 is not between 0.05 and"),
        ("connection_timeout", {"connection_timeout": "nan"}, "Enter a number."),
        ("idle_timeout", {"idle_timeout": -1}, "is not between 0 and"),
        ("max_lifetime", {"max_lifetime": -1}, "is not between 0 and"),
        ("reconnect_timeout", {"reconnect_timeout": 0}, "is not between 1 and"),
        ("validate_after_idle", {"validate_after_idle": -1}, "is not between 0 and"),
        ("keepalive_interval", {"keepalive_interval": -1}, "is not between 0 and"),
        ("leak_threshold", {"leak_threshold": -1}, "is not between 0 and"),
        ("health_check_interval", {"health_check_interval": 0}, "is not between 1 and"),
        ("pool_mode", {"pool_mode": "telepathy"}, "telepathy is not one of the available choices"),
        ("validation", {"validation": "hope"}, "hope is not one of the available choices"),
        ("validation_query", {"validation_query": "DELETE FROM auth_user"}, "is not one SELECT statement"),
        ("validation_query", {"validation_query": "SELECT 1; DROP TABLE x"}, "more than one statement"),
        ("target", {"target": "nowhere"}, "“nowhere” is no target of this site; there are default."),
        ("target", {"target": ""}, "This field is required."),
        ("role", {"role": "king"}, "king is not one of the available choices"),
    ],
)
def test_a_refusal_stands_at_its_field(operator: Client, field: str, wrong: dict[str, Any], reason: str) -> None:
    answer = operator.post(ADD, values(**wrong))
    assert answer.status_code == 200
    page = answer.content.decode()
    assert reason in errors_at(page, field).replace("&#x27;", "'")
    assert len(re.findall("<li>", error_list_at(page, field))) == 1
    assert "Please correct the error below." in page  # one mistake, one message
    assert not PoolProfile.objects.exists()


def test_a_second_profile_for_the_same_processes_is_refused(operator: Client, profile: PoolProfile) -> None:
    page = operator.post(ADD, values()).content.decode()
    assert "There is already a profile for this target and role; edit that one." in page


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_the_fleet_makes_of_each_profile(operator: Client, profile: PoolProfile) -> None:
    worker = PoolProfile(target="default", role="worker")
    save_profile(worker, "ann")
    off = PoolProfile(target="default", role="command", enabled=False)
    save_profile(off, "ann")
    now = PoolSnapshot("default", used=2, idle=3, pending=1)
    beat(followed(now, profile), uid="one")
    beat(now, uid="two")
    beat(followed(now, worker), uid="three", role="worker")
    page = operator.get(LIST).content.decode()
    rows = re.findall(r"<tr><td class=.action-checkbox.*?</tr>", page, re.S)
    said = {re.search(r"poolprofile/(\d+)/", row)[1]: " ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows}  # type: ignore[index]
    assert "applied 1 of 2 4 / 6 / 2" in said[str(profile.pk)]
    assert "applied 1 of 1 2 / 3 / 1" in said[str(worker.pk)]
    assert "not enabled \N{EN DASH}" in said[str(off.pk)]


def test_without_a_row_the_bootstrap_settings_can_be_made_one(operator: Client) -> None:
    page = operator.get(LIST).content.decode()
    assert "One target has no profile yet" in page
    assert operator.get(f"{LIST}bootstrap/").status_code == 405
    assert operator.post(f"{LIST}bootstrap/").status_code == 302
    made = PoolProfile.objects.get()
    assert (made.target, made.updated_by) == ("default", "operator")
    assert made.spec() == own_pool().bootstrap
    assert "has no profile yet" not in operator.get(LIST).content.decode()


# -- actions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["recycle", "pause", "resume"])
def test_an_action_asks_first_and_then_orders_once_a_target(operator: Client, profile: PoolProfile, kind: str) -> None:
    web = PoolProfile(target="default", role="web")
    save_profile(web, "ann")
    beat()
    data: dict[str, Any] = {"action": kind, "_selected_action": [profile.pk, web.pk]}
    page = operator.post(LIST, data).content.decode()
    assert '<th scope="row">default</th><td>all processes: 1 now</td>' in page
    assert re.findall(r"<(\w+)[^>]* autofocus>([^<]+)<", page) == [("a", "No, take me back")]
    assert not Command.objects.exists()
    assert operator.post(LIST, {**data, "confirmed": "yes"}).status_code == 302
    command = Command.objects.get()
    assert (command.kind, command.target, command.process, command.author) == (kind, "default", "", "operator")


def test_a_profile_is_duplicated_for_a_role_once(operator: Client, profile: PoolProfile) -> None:
    data: dict[str, Any] = {"action": "duplicate", "_selected_action": [profile.pk]}
    assert 'name="role"' in operator.post(LIST, data).content.decode()
    page = operator.post(LIST, {**data, "confirmed": "yes", "role": "worker"}, follow=True).content.decode()
    assert "Created default (worker)." in page
    copy = PoolProfile.objects.get(role="worker")
    assert copy.values() == profile.values()
    page = operator.post(LIST, {**data, "confirmed": "yes", "role": "worker"}, follow=True).content.decode()
    assert "has a profile for the role worker already; edit that one." in page
    assert PoolProfile.objects.count() == 2


# -- rights -----------------------------------------------------------------------------------------------------------


def test_who_may_only_view_sees_all_and_changes_nothing(viewer: Client, profile: PoolProfile) -> None:
    page = viewer.get(change(profile)).content.decode()
    assert all(f"field-{name}" in page for name in FIELDS)
    assert 'name="max_size"' not in page
    assert 'name="_save"' not in page
    history = viewer.get(f"{LIST}{profile.pk}/history/")
    assert history.status_code == 200
    assert "Restore" not in history.content.decode()
    revision = ProfileRevision.objects.get()
    listed = viewer.get(LIST).content.decode()
    assert "applied" in listed or "no process yet" in listed
    assert '<option value="pause">' not in listed

    assert viewer.post(change(profile), values(max_size=3)).status_code == 403
    assert viewer.post(f"{LIST}bootstrap/").status_code == 403
    assert viewer.post(f"/admin/poolmgr/profilerevision/{revision.pk}/restore/").status_code == 403
    viewer.post(LIST, {"action": "pause", "_selected_action": [profile.pk], "confirmed": "yes"})
    viewer.post(LIST, {"action": "duplicate", "_selected_action": [profile.pk], "confirmed": "yes", "role": "web"})
    assert not Command.objects.exists()
    assert PoolProfile.objects.count() == 1
    profile.refresh_from_db()
    assert profile.revision == 1


@pytest.mark.parametrize("model", ["profilerevision", "event", "healthcheck", "command", "episode"])
def test_nobody_edits_the_past(operator: Client, profile: PoolProfile, model: str) -> None:
    HealthCheck.objects.create(target="default", state="warning", message="slow", connect_time=1.5)
    Command.objects.create(kind="pause", target="default", expires_at="2026-01-01T00:00Z")
    Episode.objects.create(family="store_lost", state="warning", began_at=timezone.now(), seen_at=timezone.now())
    rows = {
        "profilerevision": ProfileRevision, "event": Event, "healthcheck": HealthCheck, "command": Command,
        "episode": Episode,
    }[model].objects.all()  # type: ignore[attr-defined]  # fmt: skip
    base = f"/admin/poolmgr/{model}/"
    assert operator.get(base).status_code == 200
    page = operator.get(f"{base}{rows[0].pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert operator.get(f"{base}add/").status_code == 403
    assert operator.post(f"{base}{rows[0].pk}/delete/", {"post": "yes"}).status_code == 403


def test_forms_are_refused_without_a_csrf_token(profile: PoolProfile, django_user_model: type[User]) -> None:
    client = signed_in(person("boss", superuser=True), enforce_csrf_checks=True)
    for page in (change(profile), LIST, f"{LIST}bootstrap/"):
        assert client.post(page, values(max_size=3)).status_code == 403
