"""A Django connection on a small pool of a chosen mode, and others that compete for it."""

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

import pytest
from django.db import connection
from psycopg.pq import TransactionStatus

from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.stress.actions import Request, World

MODES = ["session", "transaction"]


def follow(**values: Any) -> ManagedPool:
    """Put settings in force in this process's default pool, as an agent would."""
    registry.set_desired({"default": Desired(make_spec(values), "profile 1", 1)})
    pool = connection.managed_pool  # type: ignore[attr-defined]
    assert pool is not None
    return pool


def is_held() -> bool:
    """Whether this thread's Django connection holds a pooled one."""
    return connection.connection is not None


def run_in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returned in a thread of its own, whose connection is closed afterwards; raises what it raised."""
    result: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as ex:
            error.append(ex)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return result[0]


def query(statement: str = "SELECT 1", *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else None


def backend_pid() -> int:
    return int(query("SELECT pg_backend_pid()")[0][0])


# -- competing ----------------------------------------------------------------------------------------------------------


class Competitor(Request):
    """One thread's round, from the first query to the close: the work of a request."""

    def __init__(self, world: World, mode: str, number: int) -> None:
        super().__init__(world, Random(number))
        self.mode = mode
        self.number = number
        self._owned = ExitStack()

    def query(self, statement: str, *parameters: Any) -> Any:
        return query(statement, *parameters)

    def arrive(self) -> None:
        """The first query, which finds nothing of anybody else, not even a transaction that has only read."""
        with connection.cursor():
            assert connection.connection.info.transaction_status == TransactionStatus.IDLE
            with self.holding() as pid:
                pass
            if self.mode == "session":
                self._owned.enter_context(self.world.owning(pid, self.token))

    @contextmanager
    def holding(self, *traces: str) -> Iterator[int]:
        """For the block, something keeps the connection: it is this thread's alone, and shows these traces at most."""
        self.mine.update(traces)
        pid = self.look()
        with self.world.owning(pid, self.token):
            yield pid
            assert self.look() == pid
        self.mine.difference_update(traces)

    def leave(self) -> None:
        """The round is over, and nothing is left that needs the connection."""
        assert is_held() is (self.mode == "session")
        self.end()

    def end(self) -> None:
        self._owned.close()
        connection.close()
        self.mine.clear()


Scenario = Callable[[Competitor], None]


def compete(mode: str, turns: Sequence[Sequence[Scenario]]) -> World:
    """As many threads as ``turns``, each of which plays its scenarios one after the other; the first failure ends all."""
    world = World()
    together = threading.Barrier(len(turns))

    def play(scenarios: Sequence[Scenario]) -> None:
        together.wait()
        for number, scenario in enumerate(scenarios):
            if world.ended.is_set():
                return
            me = Competitor(world, mode, number)
            try:
                me.arrive()
                scenario(me)
                me.leave()
            except BaseException:
                world.break_promise(f"{scenario.__name__}: {traceback.format_exc()}")
            finally:
                me.end()

    threads = [threading.Thread(target=play, args=(scenarios,)) for scenarios in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if hanging := [thread.name for thread in threads if thread.is_alive()]:
        world.ended.set()
        pytest.fail(f"{hanging} did not end; {world.violations}")
    assert not world.violations, "\n".join(world.violations)
    assert world.owners == {}
    return world
