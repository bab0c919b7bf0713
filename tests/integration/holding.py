"""This process with its agent in a fleet of its own, and threads that hold connections in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection, connections, transaction
from django.urls import reverse

from poolmgr.control import agent
from poolmgr.control.store import get_store
from poolmgr.identity import process_uid
from poolmgr.pools.labels import Label, labelled
from tests.waiting import until

from .console import own_fleet, own_pool


def fleet_of_its_own(settings: Any, redis: Any, **poolmgr: Any) -> None:
    """To be ended with ``without_agent()``."""
    own_fleet(settings, redis)
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": True, "POLL_INTERVAL": 0.5, "HEARTBEAT_INTERVAL": 0.2, **poolmgr}
    connection.ensure_connection()
    agent.start()
    until(lambda: any(beat.pools for beat in get_store().processes()), "the first report")


class Holding:
    """A thread that does ``work`` with a connection, and holds that until the test has it end."""

    def __init__(self, work: Callable[[], object], label: str = "GET /reports/<int:pk>/") -> None:
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._work = work
        self._label = Label("view", label, "8f3a")
        self._thread = threading.Thread(target=self._run, name="holding", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with labelled(self._label):
                self._work()
                self._over.wait(30)
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    @property
    def told(self) -> Any:
        """What the pool tells of it."""
        return next((each for each in own_pool().snapshot().holders if each.label == self._label.name), None)

    def is_at(self, state: str) -> None:
        """Wait until it is."""
        until(lambda: self.told and self.told.state == state, f"the state {state!r}")

    @property
    def address(self) -> str:
        """Of its page."""
        checkout = until(lambda: self.told, "the holder").checkout
        return reverse("poolmgr:holder", kwargs={"uid": process_uid(), "target": "default", "checkout": checkout})

    def end(self) -> BaseException | None:
        """What has come of it."""
        self._over.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error


def sleeps() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")


def loiters(over: threading.Event) -> None:
    """In a transaction, until it is ``over``; then it says more."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'a value that is mine'")
        over.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 2")
