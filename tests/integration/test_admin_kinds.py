"""Profiles of targets of other kinds: what a kind refuses is neither offered nor taken, whichever way it comes."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client

from poolmgr.control.desired import read_profiles, wishes
from poolmgr.control.editing import profiles
from poolmgr.exceptions import InvalidSpec
from poolmgr.models import Event, PoolProfile, ProfileRevision
from poolmgr.pools.queries import select_error
from poolmgr.pools.spec import FIELDS
from poolmgr.targets.redis.kind import REDIS
from poolsite.demo.servers import EmbeddedRedis

from .console import own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/poolmgr/poolprofile/"
ADD = f"{LIST}add/"
TARGET = "cache:default"
REFUSAL = "A Redis connection goes back after each command, pipeline or subscription. It stays at session."


@pytest.fixture(autouse=True)
def _cached(settings: Any, redis_server: EmbeddedRedis) -> Any:
    own_fleet(settings, redis_server)
    before = settings.CACHES
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_server.url(8),
            "OPTIONS": {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": {"max_size": 4}},
        }
    }
    yield
    settings.CACHES = before


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def profile() -> PoolProfile:
    made = PoolProfile(target=TARGET, **REDIS.defaults.to_dict())
    profiles.save_profile(made, "ann", "as it was")
    return made


def change(profile: PoolProfile) -> str:
    return f"{LIST}{profile.pk}/change/"


def values(**changes: Any) -> dict[str, str]:
    """What the form of a Redis target posts."""
    given = {"target": TARGET, "role": "", "enabled": "on", "note": "", **REDIS.defaults.to_dict()}
    del given["pool_mode"]
    return {name: str(value) for name, value in {**given, **changes}.items()}


def offered(page: str) -> set[str]:
    return {*re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', page)} & {*FIELDS}


def value_of(page: str, name: str) -> str:
    [found] = re.findall(
        rf'<input[^>]* name="{name}"[^>]* value="([^"]*)"|<input[^>]* value="([^"]*)"[^>]* name="{name}"', page
    )
    return "".join(found)


def wrong_by_sql(profile: PoolProfile) -> None:
    PoolProfile.objects.filter(pk=profile.pk).update(pool_mode="transaction")


# -- the form ---------------------------------------------------------------------------------------------------------


def test_adding_asks_for_the_target_first_where_there_are_kinds(operator: Client, settings: Any) -> None:
    page = operator.get(ADD).content.decode()
    assert offered(page) == set()
    assert re.findall(r'<a href="(\?target=[^"]*)">([^<]*)</a></th><td>(\w+)</td>', page) == [
        ("?target=default", "default", "PostgreSQL"),
        ("?target=cache%3Adefault", TARGET, "Redis"),
    ]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert offered(operator.get(ADD).content.decode()) == {*FIELDS}


def test_the_form_of_a_kind_offers_what_it_honours_with_its_own_words_and_defaults(operator: Client) -> None:
    redis = operator.get(f"{ADD}?target=cache%3Adefault").content.decode()
    assert offered(redis) == {*REDIS.honours}
    assert "PING is what a Redis is asked." in redis
    assert "One SELECT that shows" not in redis
    assert value_of(redis, "validation_query") == "PING"
    assert f'<option value="{TARGET}" selected>' in redis
    postgresql = operator.get(f"{ADD}?target=default").content.decode()
    assert offered(postgresql) == {*FIELDS}
    assert value_of(postgresql, "validation_query") == "SELECT 1"


def test_a_new_profile_begins_with_what_rules_so_that_only_what_is_meant_is_changed(operator: Client) -> None:
    assert value_of(operator.get(f"{ADD}?target=cache%3Adefault").content.decode(), "max_size") == "4"
    profiles.save_profile(PoolProfile(target=TARGET, **{**REDIS.defaults.to_dict(), "max_size": 6}), "ann")
    assert value_of(operator.get(f"{ADD}?target=cache%3Adefault").content.decode(), "max_size") == "6"
    PoolProfile.objects.update(enabled=False)
    assert value_of(operator.get(f"{ADD}?target=cache%3Adefault").content.decode(), "max_size") == "4"


@pytest.mark.parametrize("target", ["nowhere", ""])
def test_a_link_to_the_form_of_no_target_asks_for_one(operator: Client, target: str) -> None:
    page = operator.get(f"{ADD}?target={target}").content.decode()
    assert offered(page) == set()
    assert f'<a href="?target=cache%3Adefault">{TARGET}</a>' in page


def test_a_profile_of_another_kind_is_made_edited_and_shown(operator: Client) -> None:
    answer = operator.post(f"{ADD}?target=cache%3Adefault", values(max_size=7))
    assert answer.status_code == 302, answer.content.decode()
    made = PoolProfile.objects.get(target=TARGET)
    assert made.spec() == REDIS.make_spec({"max_size": 7})
    page = operator.get(change(made)).content.decode()
    assert offered(page) == {*REDIS.honours}
    assert "PING is what a Redis is asked." in page
    answer = operator.post(change(made), values(max_size=8, seen_revision=1, note="more room"))
    assert answer.status_code == 302, answer.content.decode()
    assert PoolProfile.objects.get(pk=made.pk).max_size == 8
    revision = ProfileRevision.objects.get(target=TARGET, number=2)
    shown = operator.get(f"/admin/poolmgr/profilerevision/{revision.pk}/change/").content.decode()
    assert "<dt>max_size</dt><dd>8</dd>" in shown
    assert "pool_mode" not in shown


def test_whoever_may_only_view_sees_what_the_kind_honours(profile: PoolProfile) -> None:
    page = signed_in(person("viewer", "view_poolprofile")).get(change(profile)).content.decode()
    assert "field-pool_mode" not in page
    assert "field-validation_query" in page
    assert "PING is what a Redis is asked." in page


def test_the_list_has_a_dash_for_what_the_kind_refuses(operator: Client, profile: PoolProfile) -> None:
    profiles.save_profile(PoolProfile(target="default"), "ann")
    page = operator.get(LIST).content.decode()
    modes = dict(re.findall(r'<a href="[^"]*">([\w:]+)</a></th>.*?data-label="pool mode">([^<]*)<', page, re.S))
    assert modes == {TARGET: "–", "default": "session"}  # noqa: RUF001


def test_a_form_sent_for_a_target_of_another_kind_gets_sentences(operator: Client) -> None:
    of_postgresql = {**values(max_size=7), "pool_mode": "transaction", "validation_query": "SELECT 1"}
    answer = operator.post(f"{ADD}?target=default", of_postgresql)
    assert answer.status_code == 200
    page = answer.content.decode()
    assert f"pool_mode: {REFUSAL}" in page
    assert "is not PING" in page
    assert (value_of(page, "max_size"), value_of(page, "validation_query")) == ("7", "SELECT 1")
    assert offered(page) == {*REDIS.honours}
    page = operator.post(f"{ADD}?target=cache%3Adefault", values(target="default", max_size=7)).content.decode()
    assert select_error("PING") in unescape(page)
    assert value_of(page, "max_size") == "7"
    assert offered(page) == {*FIELDS}
    assert not PoolProfile.objects.exists()


def test_bootstrap_settings_of_every_kind_become_profiles_that_can_be_duplicated(operator: Client) -> None:
    page = operator.get(LIST).content.decode()
    assert f"<b>{TARGET}</b> (2 to 4 connections)" in page
    operator.post(f"{LIST}bootstrap/")
    made = PoolProfile.objects.get(target=TARGET)
    assert made.spec() == REDIS.make_spec({"max_size": 4})
    assert PoolProfile.objects.filter(target="default").exists()
    action = {"action": "duplicate", "_selected_action": made.pk, "confirmed": "yes", "role": "worker"}
    operator.post(LIST, action)
    assert PoolProfile.objects.get(target=TARGET, role="worker").spec() == made.spec()


def test_a_profile_of_a_cache_that_is_gone_can_be_switched_off(
    operator: Client, profile: PoolProfile, settings: Any
) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    given = values(seen_revision=1)
    del given["enabled"]
    answer = operator.post(change(profile), given)
    assert answer.status_code == 302, answer.content.decode()
    assert not PoolProfile.objects.get(pk=profile.pk).enabled


# -- the other ways ---------------------------------------------------------------------------------------------------


def test_what_a_kind_refuses_is_told_when_it_comes_by_sql_and_a_save_puts_it_right(
    operator: Client, profile: PoolProfile
) -> None:
    wrong_by_sql(profile)
    found = wishes(read_profiles(), "web", {})
    assert TARGET not in found.desired
    assert REFUSAL in found.invalid[TARGET]
    row = PoolProfile.objects.get(pk=profile.pk)
    with pytest.raises(InvalidSpec) as caught:
        row.spec()
    assert caught.value.errors == {"pool_mode": REFUSAL}
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert refused.value.message_dict == {"pool_mode": [REFUSAL]}
    page = operator.get(change(profile)).content.decode()
    assert REFUSAL in page
    assert operator.post(change(profile), values(seen_revision=1)).status_code == 302
    assert PoolProfile.objects.get(pk=profile.pk).spec() == REDIS.defaults
    assert "pool_mode transaction → session" in Event.objects.latest("at", "pk").message


def test_what_a_kind_refuses_is_told_when_it_comes_by_a_fixture(tmp_path: Path, profile: PoolProfile) -> None:
    call_command("dumpdata", "poolmgr.poolprofile", output=str(tmp_path / "rows.json"))
    [row] = json.loads((tmp_path / "rows.json").read_text())
    row["fields"]["pool_mode"] = "statement"
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    call_command("loaddata", str(tmp_path / "rows.json"), verbosity=0)
    last = wishes((profile,), "web", {}).desired
    found = wishes(read_profiles(), "web", last)
    assert REFUSAL in found.invalid[TARGET]
    assert found.desired == last


def test_what_a_kind_refuses_is_told_when_it_comes_by_a_restore(operator: Client, profile: PoolProfile) -> None:
    revision = ProfileRevision.objects.get(target=TARGET)
    revision.values = {**revision.values, "pool_mode": "transaction", "max_size": 9}
    revision.save()
    with pytest.raises(InvalidSpec) as caught:
        profiles.restore(revision, "ann")
    assert caught.value.errors == {"pool_mode": REFUSAL}
    address = f"/admin/poolmgr/profilerevision/{revision.pk}/restore/"
    assert "pool_mode" in operator.get(address).content.decode()
    page = operator.post(address, follow=True).content.decode()
    assert "Not restored" in page
    assert REFUSAL in page
    assert PoolProfile.objects.get(pk=profile.pk).spec() == REDIS.defaults
