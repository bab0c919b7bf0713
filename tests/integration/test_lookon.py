"""The pass to look on: who gets one, how long it is good, and when it ends before its time."""

from __future__ import annotations

import time
from dataclasses import replace
from http.cookies import Morsel
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, User
from django.core import signing
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings

from poolmgr.control.reach import Outage
from poolmgr.lookon import admission, passes, revoking
from poolmgr.lookon.passes import Pass

from .console import PASSWORD, own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

AWAY = Outage("The control database does not answer.", 1.0)
AGE = django_settings.SESSION_COOKIE_AGE


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def viewer() -> User:
    return person("viewer", "view_poolprofile", "change_poolprofile")


def given_to(client: Client) -> "Morsel[str]":
    """The cookie that a look at the dashboard leaves."""
    assert client.get("/pools/").status_code == 200
    return client.cookies[passes.cookie_name()]


def request_of(client: Client, **cookies: str) -> HttpRequest:
    """The next request of a browser, with its cookies, or with some of them replaced."""
    request = RequestFactory().get("/pools/")
    request.COOKIES = {**{name: morsel.value for name, morsel in client.cookies.items()}, **cookies}
    return request


def read(client: Client) -> Pass:
    found = passes.read(request_of(client))
    assert found is not None
    return found


def may_look_on(client: Client, **cookies: str) -> bool:
    return admission.admit(request_of(client, **cookies), AWAY)


def test_it_holds_what_its_owner_may_see_and_no_more(viewer: User) -> None:
    client = signed_in(viewer)
    given_to(client)
    assert read(client).sees == ("poolmgr.view_poolprofile",)
    request = request_of(client)
    assert admission.admit(request, AWAY)
    assert request.user.get_username() == "viewer"
    assert request.user.has_perm("poolmgr.view_poolprofile")
    assert not request.user.has_perm("poolmgr.change_poolprofile")
    assert not request.user.has_perm("poolmgr.view_event")
    assert django_settings.SESSION_COOKIE_NAME not in request.COOKIES


def test_its_cookie_is_as_guarded_as_the_sessions(viewer: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    settings.SESSION_COOKIE_PATH = "/pools/"
    cookie = given_to(signed_in(viewer))
    assert cookie["httponly"]
    assert cookie["secure"]
    assert (cookie["samesite"], cookie["path"]) == ("Strict", "/pools/")


def test_it_ends_with_the_session(viewer: User, settings: Any) -> None:
    client = signed_in(viewer)
    session = client.session
    session[admission.LOGIN_TIME] = began = int(time.time()) - 86_400
    session.save()
    cookie = given_to(client)
    assert read(client).until == began + AGE
    assert abs(int(cookie["max-age"]) - (began + AGE - time.time())) < 5


def test_a_session_that_lasts_as_long_as_the_browser_has_such_a_pass(viewer: User, settings: Any) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    client = signed_in(viewer)
    assert given_to(client)["max-age"] == ""
    assert abs(read(client).until - time.time() - AGE) < 5


def test_a_session_that_does_not_know_its_end_gives_none(viewer: User) -> None:
    client = signed_in(viewer)
    session = client.session
    del session[admission.LOGIN_TIME]
    session.save()
    assert client.get("/pools/").status_code == 200
    assert passes.cookie_name() not in client.cookies


def test_it_is_not_written_anew_at_every_refresh(viewer: User) -> None:
    client = signed_in(viewer)
    given_to(client)
    assert passes.cookie_name() not in client.get("/pools/fragment/").cookies
    old = replace(read(client), issued=int(time.time()) - 100)
    client.cookies[passes.cookie_name()] = passes.sign(old)
    assert passes.cookie_name() in client.get("/pools/fragment/").cookies
    assert read(client).issued > old.issued


def test_what_was_not_signed_here_or_is_over_is_no_pass(viewer: User) -> None:
    client = signed_in(viewer)
    good, held = given_to(client).value, read(client)
    assert may_look_on(client)
    with override_settings(SECRET_KEY="another key, by which somebody else signs"):
        elsewhere = passes.sign(held)
    changed = good.replace(good[:8], signing.dumps(["x"])[:8], 1)
    other_version = signing.dumps({"user": "1"}, salt="poolmgr.lookon")
    for text in (elsewhere, changed, other_version, passes.sign(replace(held, until=1)), "", "x", "a:b:c"):
        assert not may_look_on(client, **{passes.cookie_name(): text})


def test_a_new_secret_key_ends_it_unless_the_old_one_still_counts(viewer: User, settings: Any) -> None:
    client = signed_in(viewer)
    given_to(client)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "a new key for the tests, which is long enough"
    assert not may_look_on(client)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert may_look_on(client)


def test_it_is_good_in_its_own_session_alone(viewer: User) -> None:
    client, other = signed_in(viewer), signed_in(viewer)
    stolen = given_to(client).value
    given_to(other)
    assert not may_look_on(other, **{passes.cookie_name(): stolen})
    client.cookies.pop(django_settings.SESSION_COOKIE_NAME)
    assert not may_look_on(client)


def test_copies_of_it_end_with_a_logout(viewer: User) -> None:
    client = signed_in(viewer)
    given_to(client)
    copied = request_of(client)
    client.post("/admin/logout/")
    assert not client.cookies[passes.cookie_name()].value
    assert not admission.admit(copied, AWAY)


def test_copies_of_it_end_with_a_new_password(viewer: User) -> None:
    client = signed_in(viewer)
    given_to(client)
    copied = request_of(client)
    new = "another password for tests"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/admin/password_change/", form).status_code == 302
    assert not admission.admit(copied, AWAY)
    given_to(client)
    assert may_look_on(client)


def test_a_visit_that_is_refused_ends_it(viewer: User) -> None:
    client = signed_in(viewer)
    given_to(client)
    copied = request_of(client)
    viewer.user_permissions.clear()
    assert client.get("/pools/").status_code == 403
    assert not client.cookies[passes.cookie_name()].value
    assert not admission.admit(copied, AWAY)


@pytest.mark.parametrize("change", ["account", "group", "deletion"])
def test_what_the_admin_changes_of_accounts_ends_it(viewer: User, change: str) -> None:
    client = signed_in(viewer)
    given_to(client)
    copied = request_of(client)
    operator = signed_in(person("operator", superuser=True))
    group = Group.objects.create(name="people")
    if change == "account":
        new = {"password1": "another password for tests", "password2": "another password for tests"}
        operator.post(
            f"/admin/auth/user/{viewer.pk}/password/", {**new, "usable_password": "true", "set-password": "1"}
        )
    elif change == "group":
        operator.post(f"/admin/auth/group/{group.pk}/change/", {"name": "others"})
    else:
        viewer.delete()
    assert not admission.admit(copied, AWAY)


def test_where_nobody_can_tell_whether_it_ended_it_has(viewer: User, settings: Any, make_redis: Any) -> None:
    server = make_redis()
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": server.url()}
    client = signed_in(viewer)
    given_to(client)
    assert not revoking.is_ended(read(client))
    server.stop()
    assert not may_look_on(client)
