"""A fleet in which all is wrong that can be, each at a target of its own, so that pages have the most to say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event as Signal

from django.db import connection
from msgspec.structs import replace

from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import save_profile
from poolmgr.control.events import record_dead
from poolmgr.control.watching import records
from poolmgr.identity import host
from poolmgr.metrics import episodes
from poolmgr.metrics.health import judge_server
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import Holder, Part, PoolSnapshot
from poolmgr.models import Acknowledgement, Command, HealthCheck, PoolProfile
from tests.pools import change
from tests.threads import Begun

from .console import beat, own_pool
from .test_blocking import blocked, idle_in_transaction

#: Declared, so that the pages of each kind can be asked for.
TARGETS = {
    "bouncer": {"KIND": "pgbouncer", "URL": "postgresql://a@localhost:1/pgbouncer", "DATABASES": ["app"]},
    "stock": {"KIND": "redis", "URL": "redis://localhost:1/0"},
    "mail": {"KIND": "kombu", "APP": "poolsite.celery.app"},
    "reports": {"KIND": "sqlalchemy", "URL": "postgresql+psycopg://a@localhost:1/a"},
    "vectors": {"KIND": "asyncpg", "DATABASE": "default"},
}
LOCK = "SELECT pg_advisory_xact_lock(7)"
VIEWS = ("GET /search/", "POST /orders/", "GET /reports/")
OTHER, SILENT = "other", "silent"
NOTE = "as it was"


@dataclass(frozen=True, slots=True)
class Troubled:
    """What is data on its pages: ``names``."""

    pools: tuple[PoolSnapshot, ...]
    names: frozenset[str]


@contextmanager
def troubled() -> Iterator[Troubled]:
    """Real holders of which one blocks the others, reported with the figures of many troubles beside them."""
    connection.close()
    pool, begun, released = own_pool(), Signal(), Signal()
    before = pool.desired
    change(pool, max_size=4, connection_timeout=20.0)
    holding = Begun(lambda: idle_in_transaction(LOCK, begun, released))
    assert begun.wait(10)
    try:
        with blocked(3, released.set, LOCK):
            seen = pool.snapshot()
            # What other tests did in this process is none of this fleet's.
            uses = tuple(each for each in seen.uses if each.name in VIEWS)
            full = replace(seen, uses=uses, pins={"DO block": 1}, pending=2, oldest_wait=3.0, recent_timeouts=0)
            pools = (full, *_others(replace(full, holders=(), backend_pids=(), slots="", pending=0, used=0)))
            now = time.time()
            beat(*pools)
            beat(
                *(replace(each, used=0, pending=0, holders=()) for each in pools[:1]),
                uid=OTHER,
                pid=4712,
                role="worker",
            )
            beat(pools[-1], uid=SILENT, pid=4713, at=now - 15, control_lost=now - 30, store_lost=now - 20)
            _happened()
            yield Troubled(pools, frozenset({host(), "worker thread", *(each.thread for each in full.holders)}))
        assert holding.end() is None
    finally:
        released.set()
        pool.apply(before)


def _others(pool: PoolSnapshot) -> Iterator[PoolSnapshot]:
    now = time.time()
    holder = Holder(
        "worker thread", 75.0, 4711, "LISTEN, advisory lock", "GET /search/", "r-17", "idle", "SELECT ?", "1.1"
    )
    at = {"kind": "postgresql", "address": "localhost:1/a"}
    yield replace(pool, target="down", idle=0, last_error="connection refused", last_error_at=now, **at)
    yield replace(pool, target="stopped", status="paused", paused_at=now - 60, timeouts_paused=3, pending=1, **at)
    yield replace(pool, target="closed", status="closed", **at)
    yield replace(pool, target="refusing", pool_mode="statement", recent_refused=5, refused=5, **at)
    yield replace(pool, target="wrong", problem="max_size is less than min_size", **at)
    yield replace(pool, target="failed", recent_timeouts=9, last_timeout_at=now - 20, **at)
    yield replace(pool, target="growing", limit=1, max_size=4, used=1, opening=1, last_error="no slot left", **at)
    bouncer = {"kind": "pgbouncer", "target": "bouncer", "parts": (Part("app", True, True),)}
    yield replace(pool, **bouncer, recent_means={"wait": 0.5, "use": 0.1}, holders=(holder,), used=1)
    yield replace(pool, kind="redis", target="stock", used=1, holders=(holder,))
    yield replace(pool, kind="kombu", target="mail", used=1, holders=(holder,))
    yield replace(
        pool,
        kind="sqlalchemy",
        target="reports",
        behind_pooler=True,
        used=4,
        holders=(holder,),
        pins={"LISTEN": 3, "temporary table": 2},
    )
    yield replace(pool, kind="asyncpg", target="vectors")


FAMILIES = (
    "exhausted", "unreachable", "paused", "closed", "over_budget", "refused", "not_following", "control_lost", "store_lost",
    "server", "connections_lost", "unreadable", "trouble", "blocked", "problem",
)  # fmt: skip


def _happened() -> None:
    """Rows of each kind: profiles with revisions, commands with answers, episodes, events, checks."""
    for target, more in (("default", {}), ("stock", {"validation_query": "PING"}), ("bouncer", {})):
        profile = PoolProfile(target=target, min_size=1, max_size=6, **more)
        save_profile(profile, "ann", NOTE)
        profile.max_size = 5
        save_profile(profile, "ann")
    now = time.time()
    records.save(
        episodes.Episode(
            target="" if family.endswith("_lost") else "default", family=family, code=family, state="critical",
            sentence=phrase("%(target)s: %(sentence)s", target="default", sentence=phrase("Nothing is known.")),
            began=now - 90, seen=now, ended=0.0 if number % 2 else now - 30,
            where=phrase("both %(role)s processes", role="web"),
            figures={"failed": 3, "waiting": 2, "longest_wait": 1.5, "full": 2},
        )
        for number, family in enumerate(FAMILIES)
    )  # fmt: skip
    for kind in (Command.Kind.RECYCLE, Command.Kind.PAUSE, Command.Kind.RESUME):
        sent = commands.send(kind, "default", "ann", "" if kind == Command.Kind.RECYCLE else OTHER)
        for number, state in enumerate(Acknowledgement.State.values):
            answer = Acknowledgement(command=sent, process=f"{OTHER}{number}", state=state)
            answer.sentence = phrase("%(n)s replaced", n=3)
            answer.save()
    record_dead(("gone",))
    for state, used in (("ok", 5), ("warning", 85), ("critical", 99), ("unknown", None)):
        check = HealthCheck(
            target="default", state=state, connect_time=0.01, query_time=0.001, server_used=used, server_max=100, ours=2,
            server_version="18.4",
        )  # fmt: skip
        check.sentence = judge_server(used, 100, 0).sentence
        check.save()
