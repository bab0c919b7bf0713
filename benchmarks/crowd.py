"""Many real processes of one site: made, ended, and watched from the server's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg

from benchmarks.site import Pace
from poolsite.demo.processes import ProcessError

#: Seconds between two looks at the server, and for which processes that were told to end may take.
LOOK, ENDING = 0.02, 20.0


class Request(NamedTuple):
    """``arrived`` is on the monotonic clock, ``took`` in seconds, ``error`` empty where it was served."""

    arrived: float
    took: float
    error: str


class Crowd:
    """The processes of one site. ``database`` is its entry of DATABASES, ``poolmgr`` its setting of that name.

    Every so many seconds, in the mean, a burst of requests comes to one of them: the traffic is that of the site, however
    many there are.
    """

    def __init__(
        self, directory: Path, database: Mapping[str, Any], poolmgr: Mapping[str, Any], every: float = 1.0
    ) -> None:
        directory.mkdir()
        self._directory, self._every = directory, every
        self._pace = Pace(directory)
        told = {"BENCH_DATABASE": json.dumps(database), "BENCH_POOLMGR": json.dumps(poolmgr)}
        with (directory / "log").open("w") as log:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.site", str(directory)],
                env={**os.environ, **told, "DJANGO_SETTINGS_MODULE": "benchmarks.site_settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.living: list[int] = []
        self._made = 0

    def migrate(self) -> None:
        self._tell("migrate")

    def fork(self, number: int, seconds: float) -> None:
        """So many more, one after the other within ``seconds``."""
        for _ in range(number):
            self.living.append(int(self._tell("fork")))
            self._made += 1
            self._share_traffic()
            sleep(seconds / number)

    def end(self, number: int, seconds: float) -> None:
        """Have the oldest end in good order, one after the other within ``seconds``."""
        for _ in range(number):
            os.kill(self.living.pop(0), signal.SIGTERM)
            self._share_traffic()
            sleep(seconds / number)

    def _share_traffic(self) -> None:
        self._pace.seconds = self._every * max(1, len(self.living))

    def leave(self) -> list[Request]:
        """End all, and what they saw."""
        for pid in self.living:
            os.kill(pid, signal.SIGTERM)
        self._parent.communicate(timeout=ENDING)
        found = [json.loads(path.read_text()) for path in self._directory.glob("*.json")]
        if len(found) != self._made:
            raise ProcessError(f"{self._made - len(found)} processes ended without a word: {self._log()}")
        return [Request(*each) for requests in found for each in requests]

    def kill(self) -> None:
        """Whatever became of it."""
        with suppress(OSError):
            self._parent.stdin.close()  # type: ignore[union-attr]
        try:
            self._parent.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()

    def _tell(self, line: str) -> str:
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(line + "\n")
        self._parent.stdin.flush()
        if not (answer := self._parent.stdout.readline()):
            raise ProcessError(f"the site's parent process ended: {self._log()}")
        return answer

    def _log(self) -> str:
        return (self._directory / "log").read_text()[-2000:]


class Sampled(NamedTuple):
    at: float
    value: int


class Watcher:
    """Asks for a number all the time, in a thread of its own, over one connection."""

    def __init__(self, url: str, ask: Callable[[Any], int]) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        self._ask = ask
        self._stopped = Event()
        self._seen: list[Sampled] = []
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(LOOK):
            self._seen.append(Sampled(monotonic(), self._ask(self._connection)))

    def stop(self) -> list[Sampled]:
        self._stopped.set()
        self._thread.join()
        self._connection.close()
        return self._seen


def sessions_of(role: str) -> Callable[[Any], int]:
    """How many connections a role has at the server."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    return lambda connection: int(connection.execute(statement, [role]).fetchone()[0])


def clients(connection: Any) -> int:
    """How many clients a PgBouncer has, consoles left out."""
    found = {row[0]: row[1] for row in connection.execute("SHOW LISTS")}
    return int(found["used_clients"]) - 1
