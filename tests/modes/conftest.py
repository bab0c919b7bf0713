"""Pools of ours in all modes, alone and behind a PgBouncer in all of its modes, on one server."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.db import connections

from poolmgr.pools import registry
from tests.agents import without_agent
from tests.bouncer import Bouncer
from tests.modes.behind import ALIAS, Behind
from tests.pools import database

ALONE = "alone"
MODES = ("session", "transaction", "statement")

Lead = Callable[..., AbstractContextManager[Behind]]


@pytest.fixture(scope="module")
def bouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    """One PgBouncer with a database for each of its modes, by that name."""
    return make_bouncer({mode: f"pool_mode={mode}" for mode in MODES}, default_pool_size=5)


@pytest.fixture
def lead(bouncer: Bouncer, django_db_blocker: Any, settings: Any) -> Lead:
    """lead(ours, theirs, OPTION=…, pool={…}): an alias on a pool of ours in the one mode, that leads to theirs."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    direct = bouncer.behind.geturl()

    @contextmanager
    def make(ours: str, theirs: str, pool: dict[str, Any] | None = None, **more: Any) -> Iterator[Behind]:
        url = direct if theirs == ALONE else bouncer.url(theirs)
        spec = {"pool_mode": ours, "min_size": 0, "max_size": 3, "connection_timeout": 5.0, **(pool or {})}
        options = {name: value for name, value in more.items() if not name.isupper()}
        top = {name: value for name, value in more.items() if name.isupper()}
        given = {**database(url, pool=spec, **options), **top}
        behind = Behind(ours, theirs, url, direct, None if theirs == ALONE else bouncer)
        with django_db_blocker.unblock():
            connections.settings[ALIAS] = connections.configure_settings({**connections.settings, ALIAS: given})[ALIAS]
            try:
                behind.clear()
                yield behind
            finally:
                connections[ALIAS].close()
                registry.close(ALIAS)
                del connections[ALIAS]
                del connections.settings[ALIAS]

    return make
