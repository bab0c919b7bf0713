"""The history of a profile: it says who changed what, and gives any of it back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from poolmgr.control.editing.profiles import delete_profile, save_profile
from poolmgr.models import Event, HealthCheck, PoolProfile, ProfileRevision

from .console import own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def profile() -> PoolProfile:
    """Saved three times: max_size 10, then 20, then 30."""
    made = PoolProfile(target="default", max_size=10)
    save_profile(made, "ann", "the beginning")
    for size in (20, 30):
        made.max_size = size
        save_profile(made, "bob", f"to {size}")
    return made


def restore_of(number: int) -> str:
    return f"/admin/poolmgr/profilerevision/{ProfileRevision.objects.get(number=number).pk}/restore/"


def test_the_history_tells_who_changed_what_and_why(operator: Client, profile: PoolProfile) -> None:
    page = operator.get(f"/admin/poolmgr/poolprofile/{profile.pk}/history/").content.decode()
    assert "max_size: 20 → <b>30</b>" in page
    assert "bob" in page
    assert "to 30" in page
    assert restore_of(1) in page
    assert restore_of(3) not in page  # the one in force
    assert "in force" in page
    profile.enabled = False
    save_profile(profile, "bob")
    page = operator.get(f"/admin/poolmgr/poolprofile/{profile.pk}/history/").content.decode()
    assert "not enabled" in page
    assert "in force" not in page


def test_checks_events_and_revisions_are_told_to_the_second(operator: Client, profile: PoolProfile) -> None:
    check = HealthCheck.objects.create(target="default", state="ok", message="well")
    event = Event.objects.latest("at")
    revision = ProfileRevision.objects.latest("created_at")
    for name, at in (("healthcheck", check.at), ("event", event.at), ("profilerevision", revision.created_at)):
        assert f"{at:%H:%M:%S}" in operator.get(f"/admin/poolmgr/{name}/").content.decode(), name
    history = operator.get(f"/admin/poolmgr/poolprofile/{profile.pk}/history/").content.decode()
    assert f"{revision.created_at:%H:%M:%S}" in history


def test_revisions_are_filtered_by_any_role_too(operator: Client, profile: PoolProfile) -> None:
    save_profile(PoolProfile(target="default", role="worker"), "ann")
    page = operator.get("/admin/poolmgr/profilerevision/").content.decode()
    assert re.search(r'<a href="\?role=">\s*any role', page)
    assert "3 profile revisions" in operator.get("/admin/poolmgr/profilerevision/?role=").content.decode()
    assert "1 profile revision" in operator.get("/admin/poolmgr/profilerevision/?role=worker").content.decode()


def test_a_restore_shows_what_it_changes_and_waits_for_the_yes(operator: Client, profile: PoolProfile) -> None:
    page = operator.get(restore_of(1)).content.decode()
    assert '<th scope="row">max_size</th><td>30</td><td><b>10</b></td>' in page
    assert re.findall(r"<(\w+)[^>]* autofocus>([^<]+)<", page) == [("a", "No, take me back")]
    profile.refresh_from_db()
    assert profile.max_size == 30


def test_a_restored_revision_is_in_force_as_a_new_one(operator: Client, profile: PoolProfile) -> None:
    page = operator.post(restore_of(1), follow=True).content.decode()
    assert "has the settings of revision 1 again, as revision 4." in page
    profile.refresh_from_db()
    assert (profile.max_size, profile.revision, profile.updated_by) == (10, 4, "operator")
    assert ProfileRevision.objects.get(number=4).changes == {"max_size": [30, 10]}


def test_a_deleted_profile_can_be_restored(operator: Client, profile: PoolProfile) -> None:
    delete_profile(profile, "bob")
    assert "The profile was deleted; restoring creates it anew." in operator.get(restore_of(2)).content.decode()
    assert operator.post(restore_of(2)).status_code == 302
    made = PoolProfile.objects.get()
    assert (made.target, made.max_size, made.revision) == ("default", 20, 4)


def test_a_deleted_profile_is_restored_only_by_who_may_add_one(profile: PoolProfile) -> None:
    editor = signed_in(person("editor", "view_profilerevision", "view_poolprofile", "change_poolprofile"))
    revision = f"/admin/poolmgr/profilerevision/{ProfileRevision.objects.get(number=2).pk}/change/"
    assert restore_of(2) in editor.get(revision).content.decode()
    delete_profile(profile, "bob")
    assert restore_of(2) not in editor.get(revision).content.decode()
    assert editor.get(restore_of(2)).status_code == 403
    assert editor.post(restore_of(2)).status_code == 403
    assert not PoolProfile.objects.exists()
    adder = signed_in(person("adder", "view_profilerevision", "view_poolprofile", "add_poolprofile"))
    assert adder.post(restore_of(2)).status_code == 302
    assert adder.post(restore_of(1)).status_code == 403  # from now on an edit
    assert PoolProfile.objects.get().max_size == 20


def test_settings_that_are_no_longer_allowed_are_not_restored(operator: Client, profile: PoolProfile) -> None:
    old = ProfileRevision.objects.get(number=1)
    old.values["max_size"] = 0
    old.save()
    page = operator.post(restore_of(1), follow=True).content.decode()
    assert "Not restored" in page
    assert "max_size" in page
    profile.refresh_from_db()
    assert profile.max_size == 30


def test_a_revision_that_does_not_exist_is_not_found(operator: Client) -> None:
    assert operator.get("/admin/poolmgr/profilerevision/99/restore/").status_code == 404
