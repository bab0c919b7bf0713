"""What saving, restoring and deleting a profile leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError

from poolmgr.control.commanding import commands, rolling
from poolmgr.control.editing import profiles
from poolmgr.exceptions import InvalidSpec
from poolmgr.models import Event, PoolProfile, ProfileRevision

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def rows_only(settings: Any) -> None:
    settings.POOLMGR = {"AGENT": False}


def made(**values: Any) -> PoolProfile:
    profile = PoolProfile(target="default", **values)
    profiles.save_profile(profile, "ann", "first")
    return profile


def test_each_change_of_content_is_a_revision_with_its_author_and_reason() -> None:
    profile = made(max_size=5)
    profile.max_size, profile.pool_mode = 7, "transaction"
    revision = profiles.save_profile(profile, "bob", "more traffic")
    assert revision is not None
    revision.refresh_from_db()
    assert (revision.number, revision.author, revision.reason) == (2, "bob", "more traffic")
    assert revision.changes == {"pool_mode": ["session", "transaction"], "max_size": [5, 7]}
    assert revision.values["max_size"] == 7
    profile.refresh_from_db()
    assert (profile.revision, profile.updated_by) == (2, "bob")
    said = Event.objects.filter(author="bob").get().message
    assert said == "default (any role) saved: pool_mode session → transaction, max_size 5 → 7 (more traffic)"


def test_saving_the_same_again_is_no_revision() -> None:
    profile = made(max_size=5)
    assert profiles.save_profile(profile, "bob", "as it was") is None
    profile.refresh_from_db()
    assert profile.revision == 1


def test_switching_a_profile_off_is_a_change() -> None:
    profile = made()
    profile.enabled = False
    revision = profiles.save_profile(profile, "bob")
    assert revision is not None
    assert revision.changes == {"enabled": (True, False)}


def test_restore_brings_back_an_old_content_as_a_new_revision() -> None:
    profile = made(max_size=5)
    profile.max_size = 50
    profiles.save_profile(profile, "bob")
    restored = profiles.restore(ProfileRevision.objects.get(number=1), "ann")
    assert (restored.pk, restored.max_size, restored.revision) == (profile.pk, 5, 3)


def test_deleted_profile_can_be_restored_and_goes_on_counting() -> None:
    profile = made(max_size=5)
    profiles.delete_profile(profile, "bob")
    assert not PoolProfile.objects.exists()
    restored = profiles.restore(ProfileRevision.objects.get(), "ann")
    assert (restored.max_size, restored.revision) == (5, 2)


def test_revision_that_is_not_valid_any_more_is_refused() -> None:
    made()
    revision = ProfileRevision.objects.get()
    revision.values["max_size"] = 0
    with pytest.raises(InvalidSpec, match="max_size"):
        profiles.restore(revision, "ann")


def test_a_user_with_a_very_long_name_can_do_everything() -> None:
    name = "x" * 300
    profile = PoolProfile(target="default", max_size=5)
    profiles.save_profile(profile, name)
    command = commands.send("recycle", "default", name)
    run = rolling.order("default", name)
    profiles.restore(ProfileRevision.objects.get(), name)
    profiles.delete_profile(profile, name)
    for each in (ProfileRevision.objects.get(), command, run, *Event.objects.all()):
        each.refresh_from_db()
        assert each.author == name[:254]


def test_duplicate_for_a_role() -> None:
    profile = made(max_size=5)
    copy = profiles.duplicate_for_role(profile, "worker", "bob")
    assert (copy.role, copy.max_size, copy.revision) == ("worker", 5, 1)
    with pytest.raises(ValueError, match="'cook' is not one of"):
        profiles.duplicate_for_role(profile, "cook", "bob")
    with pytest.raises(IntegrityError):
        profiles.duplicate_for_role(profile, "worker", "bob")


def test_bootstrap_profiles_are_offered_where_no_row_rules() -> None:
    (offered,) = profiles.bootstrap_profiles()
    # tests.settings: what the site's own settings say.
    assert (offered.target, offered.pk, offered.connection_timeout) == ("default", None, 10.0)
    made()
    assert profiles.bootstrap_profiles() == []
