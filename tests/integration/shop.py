"""A fleet of a shop in which something of everything is told: for the documents, and for pages that show all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from msgspec.structs import replace

from poolmgr.control.commanding import commands
from poolmgr.control.inquiry import Answer, What, opened
from poolmgr.control.store import get_store
from poolmgr.metrics.blocking import Session
from poolmgr.metrics.histogram import Distribution, Histogram
from poolmgr.metrics.packing import packed
from poolmgr.metrics.seen import Seen, Stranger
from poolmgr.metrics.serving import Serving
from poolmgr.metrics.snapshot import Ack, Holder, PoolSnapshot, ProcessBeat
from poolmgr.metrics.uses import Use
from poolmgr.models import Acknowledgement, Command, Episode, Event, HealthCheck, Sample
from poolmgr.pools.labels import Label
from poolmgr.pools.uses import Uses

from .console import beat, own_pool

WEB, WORKER = "3f0c9a7be21d4c55", "b81e22d09c5f4a17"
CHECKOUT = "7.12"
ADDRESS = "db.example.org:5432/shop"
STACK = (
    'File "/srv/shop/reports/views.py", line 41, in monthly\n    return export(rows)',
    'File "/srv/shop/reports/export.py", line 88, in export\n    client.put(name, body)',
)
HOLDER = Holder(
    thread="ThreadPoolExecutor-0_1", seconds=41.2, backend_pid=5101, label="GET /reports/<int:pk>/", request="8f3a",
    state="in transaction", statement="SELECT * FROM orders WHERE id = ?", checkout=CHECKOUT, pinned="transaction",
)  # fmt: skip
WAITER = Holder(
    thread="ThreadPoolExecutor-0_0", seconds=12.5, backend_pid=5102, label="POST /orders/", state="running",
    statement="UPDATE orders SET state = ? WHERE id = ?", checkout="8.3",
)  # fmt: skip


def spread(*seconds: float) -> Distribution:
    made = Histogram()
    for each in seconds:
        made.add(each)
    return made.freeze()


def pool(**values: Any) -> PoolSnapshot:
    """Its settings are those of this process's pool."""
    now, most = time.time(), values.get("max_size", 2)
    sizes = {"max_size": most, "limit": most}
    return PoolSnapshot(
        "default", address=ADDRESS, at=now, profile="profile 1", revision=2, min_size=1,
        settings={**own_pool().snapshot().settings, "connection_timeout": 30.0, "max_size": most}, connection_timeout=30.0, checkouts=18_204, created=9, closed=7,
        pins={"transaction": 3}, wait_time=spread(0.00002, 0.4), use_time=spread(0.004, 0.9), create_time=spread(0.006),
        recent_wait_time=spread(0.00002, 0.004, 2.0), recent_use_time=spread(0.004, 0.02, 0.9), recent_checkouts=310,
        **{**sizes, **values},
    )  # fmt: skip


def uses() -> tuple[Use, ...]:
    made = Uses(splits=True)
    for name, held, sql, kept in (
        ("GET /search/", 2.1, 0.004, 0.0),
        ("GET /reports/<int:pk>/", 0.9, 0.3, 0.5),
        ("POST /orders/", 0.02, 0.018, 0.002),
    ):
        made.add((Label("view", name), held, sql, kept, None, True))
    made.add((Label("task", "shop.bill"), 0.4, 0.38, 0.01, None, True))
    made.add((None, 0.002, 0.002, 0.0, None, True))
    return made.told(time.monotonic())


def web(**more: Any) -> ProcessBeat:
    full = pool(
        used=2, pending=3, oldest_checkout=41.2, oldest_wait=6.4, slots="he", holders=(HOLDER, WAITER),
        backend_pids=(5101, 5102), uses=uses(), timeouts=4, recent_timeouts=4, last_timeout_at=time.time() - 1.5,
    )  # fmt: skip
    acks = (Ack(Command.objects.latest("id").pk, "done", "", time.time()),) if Command.objects.exists() else ()
    serving = Serving(threads=8, busy=5)
    return beat(full, uid=WEB, host="web1", pid=4711, acks=acks, version="1.0", serving=serving, **more)


def worker() -> ProcessBeat:
    calm = pool(idle=2, max_size=4, backend_pids=(5107, 5108))
    return beat(calm, uid=WORKER, role="worker", host="jobs1", pid=812, name="celery worker", version="1.0")


def seen() -> None:
    """As one who looks at the server has shared it."""
    now = time.time()
    loiterer = Session(
        5101, name="poolmgr:web:web1:4711", user="shop", address="10.0.0.5", state="in transaction", seconds=40.8
    )
    waits = Session(
        5102, name="poolmgr:web:web1:4711", user="shop", address="10.0.0.5", state="running", seconds=12.1, waits=12.0,
        blocked_by=(5101,), statement="UPDATE orders SET state = ? WHERE id = ?",
    )  # fmt: skip
    found = Seen(
        at=now, tried=now, used=14, most=100, reserved=3, ours={"default": 4}, others=10, waiting=1, sessions=(loiterer, waits),
        strangers=(Stranger("psql", "ann", "10.0.0.9", 10),),
    )  # fmt: skip
    get_store().note("look:default", found.to_text(), 60)


def rows() -> None:
    now = timezone.now()
    HealthCheck.objects.create(
        target="default", state="ok", message="14 of 97 server connections used.", connect_time=0.004, query_time=0.0004,
        server_used=14, server_max=100, server_reserved=3, ours=4, server_version="PostgreSQL 18.0",
    )  # fmt: skip
    Event.objects.create(
        kind=Event.Kind.PROFILE, target="default", author="ann", message="default (any role) saved: max_size 8 → 2"
    )
    Episode.objects.create(
        target="default", family="exhausted", code="exhausted", state="critical", place="the web process",
        sentence="Requests get no connection: the web process is full (2 of 2).",
        began_at=now - timedelta(seconds=95), seen_at=now, figures={"full": 1, "failed": 4, "waiting": 3, "longest_wait": 30.0},
        why="default (any role) saved: max_size 8 → 2, by ann, 12 s before",
    )  # fmt: skip
    sent = commands.send(Command.Kind.RECYCLE, "default", "ann", WEB)
    Acknowledgement.objects.create(command=sent, process=WEB, state="done")


def past() -> None:
    """A sample of half a minute ago, as whoever leads keeps it."""
    step = 10.0
    # An agent of the test's own process may have led before.
    Sample.objects.all().delete()
    Sample.objects.create(
        tier=0, at=datetime.fromtimestamp((time.time() - 30) // step * step, UTC), target="default", role="web", looks=5,
        used=1.8, idle=0.2, pending=1.4, used_most=2, pending_most=3, full=1, capacity=2, processes=1, seconds=step,
        checkouts=52, timeouts=2, created=1, wait=packed(spread(0.00002, 0.004, 2.0)), use=packed(spread(0.004, 0.02, 0.9)),
        create=packed(spread(0.006)),
    )  # fmt: skip


def open_shop() -> None:
    rows()
    past()
    web()
    worker()
    seen()


@contextmanager
def answering() -> Iterator[None]:
    """The web process answers what it is asked of its first holder, and does what it is told."""
    over = threading.Event()
    store = get_store()

    def answer() -> None:
        while not over.wait(0.02):
            for name, text in store.asked(WEB):
                mine = opened(text).checkout == CHECKOUT
                looks = opened(text).what == What.LOOK
                told = Answer(time.time(), mine, "", (HOLDER,) if mine else (), STACK if mine and looks else ())
                store.answer(name, told.to_json(), 60)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


def older(made: ProcessBeat, seconds: float) -> ProcessBeat:
    """The same beat, reported so long ago."""
    was = replace(made, at=made.at - seconds)
    get_store().beat(was)
    return was
