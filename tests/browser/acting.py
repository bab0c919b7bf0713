"""What incidents that are acted out share: a pool that follows, requests that ask, and what the open overview says soon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from django.db import connection, connections

from poolmgr.control.editing.profiles import save_profile
from poolmgr.exceptions import CheckoutError
from poolmgr.models import PoolProfile
from poolmgr.pools.labels import Label, labelled
from tests.integration.console import own_pool
from tests.threads import Begun
from tests.waiting import until

if TYPE_CHECKING:
    from tests.browser.conftest import Page

#: Seconds within which an operator must know.
SOON = 10.0


def follow(**values: object) -> PoolProfile:
    """Save settings, and wait for the pool to follow them."""
    rest = {"min_size": 1, "connection_timeout": 20.0}
    profile = PoolProfile.objects.filter(target="default").first() or PoolProfile(target="default", **rest)
    for name, value in values.items():
        setattr(profile, name, value)
    save_profile(profile, "operator")
    until(lambda: own_pool().snapshot().revision == profile.revision, "the settings", SOON)
    connection.close()  # this thread's own would be one of the three
    return profile


def asks() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def asking(acting: ExitStack, number: int, work: Callable[[], None] = asks) -> None:
    """So many requests of a search that want a connection."""

    def ask() -> None:
        with labelled(Label("view", "GET /search/", "s-1")), suppress(CheckoutError):
            try:
                work()
            finally:
                connections.close_all()

    for _ in range(number):
        acting.callback(Begun(ask).end)


def says(page: Page, text: str, selector: str = "#pools .pm-headline") -> None:
    until(lambda: text in page.text(selector), lambda: f"{text!r} in {page.text(selector)!r}", SOON)


def pressed(page: Page) -> str:
    """What there is to press first."""
    return page.text(".pm-remedies .pm-primary")


def told_what_to_do(page: Page, title: str) -> None:
    """Where the verdict leads to."""
    page.one(".pm-remedies .pm-todo").click()
    until(lambda: page.text("#content h1") == title, "what to do", SOON)
    page.open("/pools/")
