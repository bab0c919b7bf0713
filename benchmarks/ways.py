"""One small server, and a site's processes before it by one way or another: a steady time, and a deploy."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from benchmarks.contenders import OURS, address
from benchmarks.crowd import Crowd, Request, Sampled, Watcher, clients, sessions_of
from benchmarks.servers import find_pgbouncer
from benchmarks.site import THREADS
from poolsite.demo.postgres import ROLE
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.bouncer import Bouncer

#: Seconds that a request waits for a connection, and that pass between two bursts of a process.
PATIENCE, PACE = 3.0, 2.0
EMPTY = "empty"


@dataclass(frozen=True)
class Scale:
    """``server`` is the server's max_connections, ``room`` what the site is to have of it, ``clients`` what PgBouncer admits,
    ``budget`` what of that the pools are to have. The rest are seconds."""

    processes: int
    server: int
    room: int
    clients: int
    budget: int
    coming: float = 4.0
    warm: float = 1.0
    steady: float = 4.0
    together: float = 1.0
    going: float = 2.0
    after: float = 1.0


FULL = Scale(processes=40, server=60, room=45, clients=400, budget=300)
QUICK = Scale(10, 20, 12, 100, 75, coming=0.8, warm=0.6, steady=1.5, together=0.4, going=0.4, after=0.4)


@dataclass(frozen=True)
class Way:
    """``batches`` is in how many parts a deploy replaces the processes."""

    label: str
    budget: bool = False
    bouncer: bool = False
    batches: int = 1


WAYS = (
    Way("neither"),
    Way("**a budget**", budget=True),
    Way("**a budget, deployed in quarters**", budget=True, batches=4),
    Way("PgBouncer", bouncer=True),
    Way("**a budget and PgBouncer**", budget=True, bouncer=True),
)


class Phase(NamedTuple):
    began: float
    ended: float


class Found(NamedTuple):
    """What one run of a way saw. Samples are of server connections, and of PgBouncer's clients."""

    steady: Phase
    deploy: Phase
    requests: list[Request]
    connections: list[Sampled]
    clients: list[Sampled]


class Servers:
    """One PostgreSQL with few connections and one Redis; a database and a PgBouncer for each way."""

    def __init__(self, stack: ExitStack, directory: Path, scale: Scale) -> None:
        directory.mkdir(mode=0o711)
        self._directory, self._scale = directory, scale
        settings = {"max_connections": scale.server, "shared_buffers": "64MB", "fsync": "off"}
        self._postgres = EmbeddedPostgres(directory / "postgres", settings=settings).start()
        stack.callback(self._postgres.destroy)
        self._redis = stack.enter_context(EmbeddedRedis(directory / "redis"))
        self._runs = 0
        made = Crowd(directory / "made", self._database(self._postgres.create_database(EMPTY)), {"AGENT": False})
        try:
            made.migrate()
        finally:
            made.kill()

    def run(self, way: Way) -> Found:
        self._runs += 1
        name = f"site{self._runs}"
        with psycopg.connect(self._postgres.superuser_url(), autocommit=True) as connection:
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            connection.execute(made.format(*map(sql.Identifier, (name, EMPTY, ROLE))))
        with ExitStack() as stack:
            url, poolmgr = self._postgres.url(name), {"NAMESPACE": name, "REDIS_URL": self._redis.url()}
            console = ""
            if way.bouncer:
                bouncer = self._bouncer(way, url)
                stack.callback(bouncer.stop)
                url, console = bouncer.url(), bouncer.console_url()
                if way.budget:
                    pool = {"max_size": self._scale.room, "budget": self._scale.room, "connection_timeout": PATIENCE}
                    poolmgr["TARGETS"] = {
                        "bouncer": {"KIND": "pgbouncer", "URL": console, "DATABASES": ["app"], "POOL": pool}
                    }
            every = PACE / self._scale.processes
            crowd = Crowd(self._directory / name, self._database(url, way), poolmgr, every)
            stack.callback(crowd.kill)
            return self._watch(way, crowd, console)

    def _bouncer(self, way: Way, url: str) -> Bouncer:
        # Where we manage it, its size is ours to set.
        size = {} if way.budget else {"default_pool_size": self._scale.room}
        directory, program = self._directory / f"pgbouncer{self._runs}", find_pgbouncer()
        assert program
        return Bouncer(program, directory, url, {"app": ""}, max_client_conn=self._scale.clients, **size)

    def _database(self, url: str, way: Way = WAYS[0]) -> dict[str, Any]:
        pool: dict[str, Any] = {"min_size": 1, "max_size": THREADS, "connection_timeout": PATIENCE}
        if way.budget:
            pool["budget"] = self._scale.budget if way.bouncer else self._scale.room
        return {**address(url), "ENGINE": OURS, "OPTIONS": {"pool": pool}}

    def _watch(self, way: Way, crowd: Crowd, console: str) -> Found:
        watchers = [Watcher(self._postgres.superuser_url(), sessions_of(ROLE))]
        if console:
            watchers.append(Watcher(console, clients))
        try:
            steady, deploy = _through(way, crowd, self._scale)
            requests = crowd.leave()
        finally:
            seen = [each.stop() for each in watchers]
        return Found(steady, deploy, requests, seen[0], seen[1] if console else [])


def _through(way: Way, crowd: Crowd, scale: Scale) -> tuple[Phase, Phase]:
    """A steady time and a deploy."""
    crowd.fork(scale.processes, scale.coming)
    sleep(scale.warm)
    began = monotonic()
    sleep(scale.steady)
    deploying = monotonic()
    some = scale.processes // way.batches
    for _ in range(way.batches):
        crowd.fork(some, scale.coming / way.batches)
        sleep(scale.together / way.batches)
        crowd.end(some, scale.going / way.batches)
    sleep(scale.after)
    return Phase(began, deploying), Phase(deploying, monotonic())
