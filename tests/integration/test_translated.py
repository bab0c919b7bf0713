"""Nothing that a reader sees is left out of what is translated, and a reader of German gets German."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils.translation import deactivate, override
from msgspec.structs import replace

from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.reporting import looks as looking
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.identity import process_uid
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.metrics.tiers import RANGES
from poolmgr.models import Command, Episode, Event, HealthCheck, PoolProfile, ProfileRevision
from poolmgr.pools.spec import FIELDS, POOL_MODES, VALIDATIONS
from tests.marking import left_out, mark_all

from .console import beat, calm, own_fleet, person, signed_in
from .test_poolctl import poolctl
from .troubled import NOTE, OTHER, SILENT, TARGETS, VIEWS, Troubled, troubled

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/admin/poolmgr/"
#: Names of programs, figures, formats and keys; they are the same in each language.
NAMES = {
    "poolmgr", "PostgreSQL", "Redis", "PgBouncer", "SQLAlchemy", "asyncpg", "kombu", "Celery", "Django", "CSV", "JSON", "SQL",
    "p50", "p95", "p99", "UTC", "uid", "s", "web", "worker", "command", "LISTEN", "SET", "SELECT 1", "SELECT ?", "PING", "enabled",
    *RANGES,
}  # fmt: skip
#: What Django's admin has in English for readers of each language.
DJANGO_S = {"Search", "True", "False", "The requested resource was not found on this server.", "Not Found"}
#: What the fleet of this test is called.
FLEET = {
    "ann", "operator", "gunicorn", "app", "r-17", "o-1", "8f3a", "holding", "gone", "failed", "full", NOTE, OTHER, SILENT,
    *(f"{OTHER}{number}" for number in range(4)), "localhost:1/0", "SELECT pg_advisory_xact_lock(?)",
}  # fmt: skip
#: Addresses of pages beside those of each target, kind and row, with what of the address they repeat.
PAGES: dict[str, set[str]] = {
    "/pools/": set(),
    "/pools/fragment/": set(),
    "/pools/?targets=all": set(),
    "/pools/events/": {"Default"},
    "/pools/history/": {"Default"},
    "/pools/?q=nothing": {"nothing"},
    "/pools/events/?q=nowhere": {"nowhere"},
    "/pools/events/?from=never": {"from", "never"},
    "/pools/history/?target=nothing": {"target", "nothing"},
    "/pools/history/?range=never": {"range", "never"},
    "/pools/processes/gone/": set(),
    f"/pools/processes/{OTHER}/": set(),
    f"/pools/processes/{SILENT}/": set(),
    "/pools/targets/nothing/": {"nothing"},
    "/pools/targets/default/?state=nothing": {"state", "nothing", "ok", "warning", "unknown", "critical"},
    "/pools/targets/default/?q=nothing": {"nothing"},
    "/pools/targets/default/?page=x": {"page", "x"},
    "/pools/confirm/?kind=nothing&target=default": {"nothing", *Command.Kind.values},
    "/pools/confirm/?kind=recycle&target=nothing": {"nothing"},
    "/pools/confirm/?kind=pause&target=default&process=gone": set(),
    "/pools/confirm/?kind=kill&target=default": {*Command.Kind.values},
}


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": TARGETS}
    monkeypatch.setattr(looking.looks, "_seen", {})


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """A reader's language stays that of the thread until the next request, which may be another test's."""
    yield
    deactivate()


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


@pytest.fixture
def fleet() -> Iterator[Troubled]:
    with troubled() as made:
        yield made


def console_pages(fleet: Troubled) -> Iterator[str]:
    yield from PAGES
    yield f"/pools/processes/{process_uid()}/"
    yield from (f"/pools/help/{code}/" for code in ADVICE)
    for pool in fleet.pools:
        yield f"/pools/targets/{pool.target}/?part=figures"
        yield f"/pools/targets/{pool.target}/settings/"
        for holder in pool.holders:
            place = f"/pools/holders/{process_uid()}/{pool.target}/{holder.checkout}/"
            yield from (place, f"{place}cancel/", f"{place}end/")
    for kind in Command.Kind.values:
        yield f"/pools/confirm/?kind={kind}&target={'bouncer' if kind in Command.CUTS else 'default'}"


def admin_pages() -> Iterator[str]:
    yield from ("/admin/", ADMIN)
    yield from (f"{ADMIN}poolprofile/add/?target={target}" for target in ("", "default", *TARGETS))
    for model in (PoolProfile, ProfileRevision, Command, Episode, Event, HealthCheck):
        place = f"{ADMIN}{model._meta.model_name}/"
        yield from (place, *(f"{place}{each.pk}/change/" for each in model.objects.all()[:15]))
    for profile in PoolProfile.objects.all():
        yield from (f"{ADMIN}poolprofile/{profile.pk}/{page}/" for page in ("history", "delete"))
    yield from (f"{ADMIN}profilerevision/{each.pk}/restore/" for each in ProfileRevision.objects.all())


def data_of(fleet: Troubled) -> set[str]:
    """What stands on the pages in letters and is no text."""
    return {
        *NAMES, *DJANGO_S, *FLEET, *VIEWS, *FIELDS, *POOL_MODES, *VALIDATIONS, *TARGETS, *fleet.names, process_uid(),
        *(pool.target for pool in fleet.pools), *(pool.address for pool in fleet.pools),
    }  # fmt: skip


def not_translated(page: HttpResponse, data: set[str]) -> set[str]:
    assert page.status_code in (200, 400, 403, 404, 409, 503)
    return left_out(page.content.decode(), data)


@pytest.mark.long
def test_no_page_says_anything_that_is_not_translated(
    operator: Client, fleet: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(fleet)
    mark_all(monkeypatch)
    pages = {
        address: not_translated(operator.get(address, follow=True), data | PAGES.get(address, set()))
        for address in (*console_pages(fleet), *admin_pages())
    }
    assert len(pages) > 100
    found = sorted({(text, address) for address, left in pages.items() for text in left})
    assert not found, "\n".join(f"{address}: {text}" for text, address in found)


def verdict_of(page: str) -> str:
    found = re.search(r'class="pm-headline"[^>]*>(.*?)</p>', page, re.S)
    assert found
    return " ".join(found[1].split())


def full(target: str = "default") -> PoolSnapshot:
    return replace(calm(), target=target, max_size=3, limit=3, used=3, idle=0, opening=0, pending=2, oldest_wait=1200.0)


GERMAN = "default: 2 Anfragen warten, am längsten seit 20 min von "
ENGLISH = "2 requests wait, the longest for 20 min of "


@pytest.mark.parametrize("asked", [False, True], ids=["site", "reader"])
def test_a_reader_of_german_has_german_and_programs_have_english(operator: Client, settings: Any, asked: bool) -> None:
    if asked:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    else:
        settings.LANGUAGE_CODE = "de"
    german = {"accept-language": "de"} if asked else {}
    beat(full())
    page = operator.get("/pools/", headers=german).content.decode()
    assert '<html lang="de"' in page
    assert verdict_of(page).startswith(GERMAN)
    assert "Wer Verbindungen hält" in page
    form = operator.get(f"{ADMIN}poolprofile/add/?target=default", headers=german).content.decode()
    assert "Höchstgröße (max_size):" in form
    values = {"enabled": "on", **PoolProfile(min_size=9, max_size=8).values()}
    wrong = operator.post("/pools/targets/default/settings/", values, headers=german).content.decode()
    assert "9 ist mehr als max_size (8); es senken oder max_size erhöhen" in wrong
    assert operator.get("/pools/api/v1/why/default", headers=german).json()["verdict"]["message"].startswith(ENGLISH)
    refused = operator.get("/pools/events/?format=json&from=never", headers=german).content.decode()
    assert "must be a time such as" in refused
    if not asked:
        assert ENGLISH in poolctl("why", "default")
        assert ENGLISH not in page


def test_what_was_done_is_told_in_the_language_of_whoever_reads_it(operator: Client, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    german = {"accept-language": "de"}
    profile = PoolProfile(target="default", max_size=6)
    with override("de"):
        save_profile(profile, "ann")
        profile.max_size = 5
        save_profile(profile, "ann")
    assert Event.objects.first().message == "default (any role) saved: max_size 6 → 5"
    assert (
        "default (jede Rolle) gespeichert: max_size 6 → 5"
        in operator.get("/pools/events/", headers=german).content.decode()
    )
    assert "default (any role) saved: max_size 6 → 5" in operator.get("/pools/events/").content.decode()
