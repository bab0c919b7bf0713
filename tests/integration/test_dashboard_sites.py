"""The pages on sites that are set up otherwise than ours."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.models import Command, Event, HealthCheck, PoolProfile, ProfileRevision

from .console import beat, own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = 'data-key="target default"'


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
    mine = beat()
    admin = "/admin/poolmgr"
    pages = [
        "/pools/", "/pools/fragment/", "/pools/metrics", "/pools/api/v1/status", "/pools/api/v1/targets/default",
        "/pools/api/v1/events?from=2026-01-01", "/pools/api/v1/episodes?to=1774792800", "/pools/api/v1/commands",
        "/pools/events/?from=2026-01-01T10:00", "/pools/events/?format=csv", f"/pools/processes/{mine.uid}/", f"{admin}/", f"{admin}/poolprofile/",
        f"{admin}/poolprofile/{profile.pk}/change/", f"{admin}/poolprofile/{profile.pk}/history/",
        f"{admin}/profilerevision/", f"{admin}/profilerevision/{revision.pk}/change/",
        f"{admin}/profilerevision/{revision.pk}/restore/", f"{admin}/command/", f"{admin}/command/{command.pk}/change/",
        f"{admin}/event/", f"{admin}/event/{Event.objects.latest('at').pk}/change/",
        f"{admin}/healthcheck/", f"{admin}/healthcheck/{check.pk}/change/",
    ]  # fmt: skip
    client = signed_in(operator, raise_request_exception=False)
    assert {page: client.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)
    assert client.post(f"{admin}/profilerevision/{revision.pk}/restore/").status_code == 302
    shown = client.get("/pools/targets/default/").content.decode()
    assert "checked just now" in shown or "s ago" in shown


def test_the_frame_is_the_admin_that_has_addresses(operator: User, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.integration.renamed_urls"
    beat()
    page = signed_in(operator).get("/watch/").content.decode()
    assert '<a href="/ops/">Operations</a>' in page
    assert '<a href="/ops/poolmgr/poolprofile/">Profiles</a>' in page
    told = signed_in(person("ann", superuser=True)).get("/watch/api/v1/").json()
    assert "/watch/api/v1/status" in told["addresses"]


def test_without_addresses_of_the_admin_the_dashboard_has_a_plain_frame(operator: User, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.integration.adminless_urls"
    settings.LOGIN_URL = "/login/"
    beat()
    client = signed_in(operator)
    page = client.get("/pools/").content.decode()
    assert TARGET in page
    assert "poolmgr/plain.css" in page
    assert "/admin/" not in page
    assert "Pause “default”?" in client.get("/pools/confirm/?kind=pause&target=default").content.decode()
    assert client.logout() is None
    assert client.get("/pools/")["Location"] == "/login/?next=/pools/"
    refused = signed_in(person("clerk")).get("/pools/")
    assert refused.status_code == 403
    assert "poolmgr.view_poolprofile" in refused.content.decode()


@pytest.mark.long
def test_the_dashboard_works_where_the_admin_is_not_installed(
    operator: User, settings: Any, site_environment: dict[str, str]
) -> None:
    beat()
    program = [sys.executable, "-m", "tests.integration.adminless", operator.username]
    pages = [
        "/pools/",
        "/pools/fragment/",
        "/pools/api/v1/status",
        "/pools/events/",
        "/pools/confirm/?kind=recycle&target=default",
    ]
    environment = {
        **site_environment,
        "DJANGO_SETTINGS_MODULE": "tests.integration.adminless_settings",
        "TEST_POOLMGR": json.dumps(settings.POOLMGR),
    }
    done = subprocess.run([*program, *pages], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    login, *seen, ordered = json.loads(done.stdout.splitlines()[-1])
    assert login == [200, "the site's own login"]
    assert [status for status, _page in seen] == [200] * len(pages)
    assert TARGET in seen[0][1]
    assert ordered[0] == 200
    assert "Sent: recycle “default”" in ordered[1]
    assert Command.objects.get().author == operator.username
