"""Threads that work and die behind a PgBouncer, while that, the server and the pool have everything done to them at once."""

import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic, sleep

import psycopg
import pytest
from django.db import Error, connections, transaction

import poolmgr
from poolmgr.exceptions import ModeError
from tests.bouncer import Bouncer
from tests.modes.behind import ALIAS, Behind
from tests.modes.conftest import Lead
from tests.waiting import until

THREADS, SECONDS = 8, 3.0
ELSEWHERE = "Asia/Kolkata"


class Storm:
    """`wrong` are the promises that were broken; what fails with an error of the database is none."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind
        self.over = threading.Event()
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()
        self.threads: list[threading.Thread] = []

    def send(self) -> None:
        """Have as many threads at work as there should be."""
        while sum(thread.is_alive() for thread in self.threads) < THREADS:
            self.threads.append(threading.Thread(target=self._work, args=(Random(len(self.threads)),)))
            self.threads[-1].start()

    def _work(self, random: Random) -> None:
        deeds = (self._echo, self._transact, self._set, self._look, self._pin)
        while not self.over.is_set():
            deed = random.choice(deeds)
            try:
                deed(str(random.random()))
                self.done[deed.__name__] += 1
            except (Error, psycopg.Error):
                pass
            except BaseException as ex:
                self.wrong.append(repr(ex))
            if random.random() < 0.03:
                return  # with whatever connection it has
            if random.random() < 0.5:
                connections[ALIAS].close()
        connections[ALIAS].close()

    def _echo(self, token: str) -> None:
        self._expect(self.behind.value("SELECT %s", token) == token, "an answer was somebody else's")

    def _transact(self, token: str) -> None:
        with transaction.atomic(using=ALIAS):
            self._expect_one_server("a transaction had two server connections")

    def _set(self, token: str) -> None:
        self.behind.query(f"SET TIME ZONE '{ELSEWHERE}'")
        connections[ALIAS].close()

    def _look(self, token: str) -> None:
        self._expect(self.behind.value("SHOW TIME ZONE") != ELSEWHERE, "what a borrower had set reached another")

    def _pin(self, token: str) -> None:
        try:
            with poolmgr.pinned(ALIAS):
                self._expect_one_server("pinned() had two server connections")
                self._expect(self.behind.theirs == "session", "pinned() was allowed where it can't be kept")
        except ModeError:
            pass

    def _expect_one_server(self, what: str) -> None:
        self._expect(len({self.behind.value("SELECT pg_backend_pid()") for _ in range(3)}) == 1, what)

    def _expect(self, held: bool, what: str) -> None:
        if not held:
            self.wrong.append(what)


def _blows(behind: Behind, bouncer: Bouncer) -> tuple[Callable[[], object], ...]:
    def freeze() -> None:
        bouncer.freeze()
        sleep(0.6)
        bouncer.thaw()

    def pause() -> None:
        behind.pool.pause()
        sleep(0.2)
        behind.pool.resume()

    def restart() -> None:
        bouncer.stop()
        bouncer.start()

    return (
        behind.clear,
        lambda: bouncer.console(f"RECONNECT {behind.theirs}"),
        freeze,
        lambda: behind.pool.recycle(2),
        pause,
        restart,
    )


@pytest.mark.long
@pytest.mark.parametrize("theirs", ["session", "transaction"])
@pytest.mark.parametrize("ours", ["session", "transaction"])
def test_whatever_happens_nobody_gets_what_is_somebody_else_s(
    lead: Lead, bouncer: Bouncer, ours: str, theirs: str
) -> None:  # P2, P3, P4
    bouncer.write(default_pool_size=5, server_login_retry=1)
    bouncer.console("RELOAD")
    with lead(ours, theirs, pool={"max_size": 4, "connection_timeout": 3.0, "validate_after_idle": 0.5}) as behind:
        storm, random, ends = Storm(behind), Random(1), monotonic() + SECONDS
        blows = _blows(behind, bouncer)
        while monotonic() < ends:
            storm.send()
            sleep(0.2)
            random.choice(blows)()
        storm.over.set()
        for thread in storm.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in storm.threads)
        assert not storm.wrong, storm.wrong[:5]
        assert all(storm.done[name] for name in ("_echo", "_transact", "_set", "_look", "_pin"))
        until(lambda: not behind.pool.snapshot().used, "what ended threads held to be back")
        assert behind.value("SELECT 1") == 1

        def clients() -> int:
            return sum(row["database"] == theirs for row in bouncer.console("SHOW CLIENTS"))

        until(lambda: clients() == behind.pool.snapshot().size, "PgBouncer to have the pool's clients and no others")
