"""Real processes that share a budget, and a witness who counts at the server what each of them holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import psycopg
import redis

from tests.waiting import until


class Sharer:
    """One process; ``name`` is the application_name of its sessions."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.programs.sharing"],
            env={**environment, "MEMBER": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._frozen = False

    def wait_until_ready(self) -> None:
        assert self._read()["ready"]

    def tell(self, **values: float) -> dict[str, Any]:
        """Change ``threads``, ``hold`` or ``pause``; what it has done so far."""
        self.write(**values)
        return self._read()

    def write(self, **values: float) -> None:
        """As ``tell()``, for one that is frozen: it reads it first of all when it wakes."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(values) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        return json.loads(line)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._frozen = False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def end(self) -> dict[str, Any]:
        """Have it end in good order; its last word."""
        assert self._process.stdin
        self._process.stdin.close()
        last = self._read()
        self._process.wait(20)
        return last

    def stop(self) -> None:
        if self._process.poll() is None:
            self.kill()


class Fleet:
    """``budget`` of a target for processes of ``max_size`` 10; the environment says of which kind it is."""

    def __init__(self, environment: dict[str, str], budget: int, **pool: Any) -> None:
        pool = {"min_size": 0, "max_size": 10, "budget": budget, "connection_timeout": 20, **pool}
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.programs.sharing_settings",
            "POOL": json.dumps(pool),
            **environment,
        }
        self.members: list[Sharer] = []

    def start(self, count: int, **environment: str) -> list[Sharer]:
        made = [
            Sharer(f"m{len(self.members) + number}", {**self._environment, **environment}) for number in range(count)
        ]
        self.members += made
        for member in made:
            member.wait_until_ready()
        return made

    def stop(self) -> None:
        for member in self.members:
            member.stop()


class Witness:
    """Samples, as fast as the server answers, how many connections each process has."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self.now: Counter[str] = Counter()
        self.most = 0
        self.at_most: Counter[str] = Counter()
        self.samples = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.003):
            self.now = self.look()
            self.samples += 1
            if self.now.total() > self.most:
                self.most, self.at_most = self.now.total(), self.now

    def look(self) -> Counter[str]:
        """How many the server has at this moment, by the processes' names."""
        raise NotImplementedError

    def close(self) -> None: ...

    def watch(self, seconds: float) -> None:
        """Look on for so long; what was seen stands in ``most``."""
        samples, deadline = self.samples, time.monotonic() + seconds
        until(lambda: time.monotonic() >= deadline and self.samples > samples, timeout=seconds + 5)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5)
        self.close()


class PostgresWitness(Witness):
    """Of the sessions to a database."""

    def __init__(self, url: str, database: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, application_name="witness")
        self._database = database
        super().__init__()

    def look(self) -> Counter[str]:
        rows = self._connection.execute(
            "SELECT application_name, count(*) FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend' GROUP BY 1",
            [self._database],
        ).fetchall()
        return Counter(dict(rows))

    def close(self) -> None:
        self._connection.close()


class RedisWitness(Witness):
    """Of the clients of a Redis that have chosen a database."""

    def __init__(self, url: str, database: int) -> None:
        self._client = redis.Redis.from_url(url)
        self._database = str(database)
        super().__init__()

    def look(self) -> Counter[str]:
        clients: Any = self._client.client_list()
        return Counter(each["name"] for each in clients if each["db"] == self._database)

    def close(self) -> None:
        self._client.close()
