"""Real processes that a test starts, watches and stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connections

from poolmgr.control.sharing.ledger import open_ledger
from poolmgr.models import Lease, Ledger
from poolsite.demo.servers import EmbeddedPostgres
from tests.agents import without_agent


def wait_for(what: Callable[[], Any], seconds: float = 10.0, every: float = 0.02) -> Any:
    """What ``what`` returns as soon as that is true; fails with the last value when it doesn't become so."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        time.sleep(every)


class Member:
    """One process, and the lines that it printed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.control_process"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def first(self, since: float = 0.0, **values: Any) -> float | None:
        """When it first said that all ``values`` hold, after ``since``."""
        for line in list(self.lines):
            if line["at"] >= since and all(line.get(name) == value for name, value in values.items()):
                return float(line["at"])
        return None

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1] if self.lines else {}

    def end(self) -> dict[str, Any]:
        """Have it end in good order; its last line."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(20)
        self._reader.join(5)
        return self.last

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


class TestFleet:
    """Processes with the same control database, and Redis where ``poolmgr`` names one."""

    __test__ = False

    def __init__(self, postgres: EmbeddedPostgres, poolmgr: dict[str, Any]) -> None:
        # An agent of the test's own process, such as from the making of the database, would follow the orders of the test.
        without_agent()
        name = str(settings.DATABASES["default"]["NAME"])
        # The tables were emptied after the last test, which a ledger can't tell from a loss.
        Lease.objects.all().delete()
        Ledger.objects.all().delete()
        open_ledger()
        self.poolmgr = poolmgr
        self.members: list[Member] = []
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
            "DATABASE_URL": postgres.url(name),
            "TEST_POOLMGR": json.dumps(poolmgr),
        }

    def start(self, count: int, **environment: str) -> list[Member]:
        """Start ``count`` processes, and wait until each has a pool."""
        made = [Member({**self.environment, **environment}) for _ in range(count)]
        self.members += made
        for member in made:
            # How long a start takes is nobody's promise.
            wait_for(lambda member=member: member.lines or member.process.poll() is not None, 60)
            assert member.process.poll() is None, "the process did not start"
        return made

    def stop(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.kill()
        connections["default"].close()
