"""The pages on sites that are set up otherwise than ours."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from poolmgr.control import commands
from poolmgr.control.profiles import save_profile
from poolmgr.models import Command, Event, HealthCheck, PoolProfile, ProfileRevision

from .console import beat, own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> User:
    return person("operator", superuser=True)


def test_every_page_works_without_time_zones(operator: User, settings: Any) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/New_York"
    connection.close()
    profile = PoolProfile(target="default")
    for profile.max_size in (7, 8):
        save_profile(profile, "operator")
    command = commands.send(Command.Kind.RECYCLE, "default", "operator")
    check = HealthCheck.objects.create(target="default", state="ok", message="well")
    revision = ProfileRevision.objects.get(number=1)
    beat()
    admin = "/admin/poolmgr"
    pages = [
        "/pools/", "/pools/fragment/", "/pools/fleet.json", "/pools/metrics", f"{admin}/", f"{admin}/poolprofile/",
        f"{admin}/poolprofile/{profile.pk}/change/", f"{admin}/poolprofile/{profile.pk}/history/",
        f"{admin}/profilerevision/", f"{admin}/profilerevision/{revision.pk}/change/",
        f"{admin}/profilerevision/{revision.pk}/restore/", f"{admin}/command/", f"{admin}/command/{command.pk}/change/",
        f"{admin}/event/", f"{admin}/event/{Event.objects.latest('at').pk}/change/",
        f"{admin}/healthcheck/", f"{admin}/healthcheck/{check.pk}/change/",
    ]  # fmt: skip
    client = signed_in(operator, raise_request_exception=False)
    assert {page: client.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)
    assert client.post(f"{admin}/profilerevision/{revision.pk}/restore/").status_code == 302
    shown = client.get("/pools/").content.decode()
    assert "checked just now" in shown or "s ago" in shown
