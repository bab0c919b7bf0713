"""The console's page of a target's settings: the admin's form, for whoever may edit, with and without an admin."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from poolmgr.control.editing.profiles import save_profile
from poolmgr.models import PoolProfile, ProfileRevision
from poolmgr.pools.spec import FIELDS

from .console import beat, own_fleet, person, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

PAGE = "/pools/targets/default/settings/"


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


def values(**changes: Any) -> dict[str, str]:
    given = {"enabled": "on", "note": "", **PoolProfile().values(), **changes}
    return {name: str(value) for name, value in given.items()}


def groups(page: str) -> list[tuple[str, bool, str]]:
    """Each group's title, whether it is no folded one, and what it says of how many fields differ."""
    found = re.findall(r"<fieldset class=\"pm-set\".*?</fieldset>", page, re.S)
    titles = [re.search(r'class="pm-set-title">([^<]*)<', each) for each in found]
    differ = [re.search(r'class="pm-set-differ">\s*([^<]*?)\s*<', each) for each in found]
    return [
        (title[1] if title else "", "<details" not in each, count[1] if count else "")
        for each, title, count in zip(found, titles, differ, strict=True)
    ]


def test_a_save_makes_the_profile_that_the_target_has_none_of(operator: Client) -> None:
    page = operator.get(PAGE).content.decode()
    assert "There is no such profile yet" in page
    answer = operator.post(PAGE, values(max_size=7, note="the first"))
    assert (answer.status_code, answer["Location"]) == (302, f"{PAGE}?role=")
    made = PoolProfile.objects.get()
    assert (made.target, made.role, made.max_size, made.updated_by) == ("default", "", 7, "operator")
    assert ProfileRevision.objects.get().reason == "the first"
    page = operator.get(answer["Location"]).content.decode()
    assert "Saved: default (any role), revision 1." in page
    assert "Revision 1 by operator" in page


def test_the_profile_of_a_role_is_chosen_or_made_by_its_link(operator: Client) -> None:
    beat()
    save_profile(PoolProfile(target="default", max_size=8), "ann")
    page = operator.get(PAGE).content.decode()
    assert re.findall(r'<a href="([^"]*)"( aria-current="page")?>(any role|web|worker|command)', page) == [
        (f"{PAGE}?role={role}", ' aria-current="page"' if not role else "", name)
        for role, name in (("", "any role"), ("web", "web"), ("worker", "worker"), ("command", "command"))
    ]
    assert "rules web 1<" in " ".join(page.split())
    assert 'name="max_size" value="8"' in operator.get(f"{PAGE}?role=worker").content.decode()
    operator.post(f"{PAGE}?role=worker", values(max_size=3))
    assert PoolProfile.objects.get(role="worker").max_size == 3
    # Made by somebody else since: theirs is shown, and not written over.
    assert operator.post(f"{PAGE}?role=worker", values(max_size=4, seen_revision=0)).status_code == 200
    assert PoolProfile.objects.get(role="worker").max_size == 3


@pytest.mark.parametrize("admin", [False, True])
def test_few_fields_come_first_and_a_group_with_what_differs_opens_itself(operator: Client, admin: bool) -> None:
    row = PoolProfile(target="default", max_size=12, idle_timeout=60, max_lifetime=120)
    save_profile(row, "ann")
    page = operator.get(f"/admin/poolmgr/poolprofile/{row.pk}/change/" if admin else PAGE).content.decode()
    found = [each for each in groups(page) if each[0]]
    assert found == [
        *([("Who follows it", True, "")] if admin else []),
        ("Size and waiting", True, ""),
        ("Lifetimes", False, "2 differ from the default"),
        ("Validation", False, ""),
        ("Sharing", False, ""),
        ("Diagnostics", False, ""),
        ("This edit", True, ""),
    ]
    assert page.count("<details open>") == 1, "the one with what differs"
    names = [name for name in re.findall(r'<(?:input|select)[^>]* name="(\w+)"', page) if name in FIELDS]
    assert names[:4] == ["min_size", "max_size", "connection_timeout", "pool_mode"]
    assert {*names} == {*FIELDS}
    marks = re.findall(r'name="(\w+)"[^>]*>\s*<span class="pm-set-mark">([^<]*)<', page)
    # tests.settings: what the site's own settings say.
    assert marks == [
        ("min_size", "settings 1"),
        ("max_size", "default 10, settings 8"),
        ("connection_timeout", "settings 10"),
        ("idle_timeout", "default 600"),
        ("max_lifetime", "default 3600"),
    ]


@pytest.mark.parametrize(
    ("permissions", "makes", "edits"),
    [
        ((), 403, 403),
        (("view_poolprofile",), 403, 403),
        (("view_poolprofile", "change_poolprofile"), 403, 302),
        (("view_poolprofile", "change_poolprofile", "add_poolprofile"), 302, 302),
    ],
)
def test_whoever_edits_may_change_and_whoever_makes_one_may_add(
    permissions: tuple[str, ...], makes: int, edits: int
) -> None:
    client = signed_in(person("somebody", *permissions))
    for expected, role in ((makes, "worker"), (edits, "web")):
        PoolProfile.objects.all().delete()
        save_profile(PoolProfile(target="default", role="web"), "ann")
        shown = client.get(f"{PAGE}?role={role}")
        assert shown.status_code == (200 if permissions else 403)
        page = shown.content.decode()
        assert ('name="_save"' in page) is (expected == 302)
        assert ('name="note"' in page) is (expected == 302)
        assert ("disabled" in page) is (expected == 403 and bool(permissions))
        assert client.post(f"{PAGE}?role={role}", values(max_size=7)).status_code == expected
        assert client.post(f"{PAGE}foresee/?role={role}", values(max_size=8)).status_code == (
            200 if expected == 302 else 403
        )
        assert PoolProfile.objects.filter(max_size=7).exists() is (expected == 302)


def test_a_target_that_nobody_knows_has_no_settings(operator: Client) -> None:
    assert operator.get("/pools/targets/nowhere/settings/").status_code == 404
    assert operator.post("/pools/targets/nowhere/settings/foresee/").status_code == 404


def test_a_name_with_a_slash_is_a_target_too(operator: Client) -> None:
    save_profile(PoolProfile(target="cache:a/b", validation_query="PING"), "ann")
    page = operator.get("/pools/targets/cache:a/b/settings/").content.decode()
    assert "Settings of cache:a/b" in page
    assert 'name="pool_mode"' not in page, "its kind refuses it"


def test_a_site_without_an_admin_edits_here(operator: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.integration.adminless_urls"
    page = operator.get(PAGE).content.decode()
    assert "/admin/" not in page
    assert operator.post(PAGE, values(max_size=7)).status_code == 302
    assert PoolProfile.objects.get().max_size == 7


def test_it_is_refused_without_a_csrf_token() -> None:
    client = signed_in(person("boss", superuser=True), enforce_csrf_checks=True)
    assert client.post(PAGE, values(max_size=3)).status_code == 403
    assert client.post(f"{PAGE}foresee/", values(max_size=3)).status_code == 403
