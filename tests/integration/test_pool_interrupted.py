"""An exception that comes between any two steps of a borrower's thread, as one out of a signal handler may."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dis import get_instructions
from functools import cache
from types import CodeType, FrameType
from typing import Any

import pytest

from poolmgr.exceptions import CheckoutError
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.pools import give_back, hold
from tests.waiting import until

MakePool = Callable[..., ManagedPool]
#: Pools that are left to come right, side by side.
AT_A_TIME = 20


class Interrupted(BaseException):
    """As Celery's SoftTimeLimitExceeded, or a KeyboardInterrupt."""


@cache
def names_of(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in get_instructions(code)}


@contextmanager
def interrupted_at(step: int) -> Iterator[list[int]]:
    """Raise in this thread at the step with this number; the list has how many there were.

    Python looks for signals when a function begins, after a call and when a loop goes round. Only what is done in the
    code of the pools counts, which asks its libraries for little.
    """
    steps = [0]
    last: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(("poolmgr.", "psycopg_pool")):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, last[frame] = last.get(frame, ""), names_of(frame.f_code).get(frame.f_lasti, "")
            if before.startswith("CALL") or before in ("RESUME", "JUMP_BACKWARD"):
                steps[0] += 1
                if steps[0] == step:
                    raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        yield steps
    finally:
        sys.settrace(None)
        last.clear()  # the frames, which know of connections, know of it too


def is_whole(pool: ManagedPool) -> bool:
    return pool.snapshot().used == 0 and pool.pool._nconns == len(pool.pool.living)


def use(pool: ManagedPool) -> None:
    """The first grows the pool, the second too; one is given back in order, one that is dead, one in mid-statement."""
    one, two = pool.checkout(), pool.checkout()
    pool.give_back(one)
    two.close()
    pool.give_back(two)
    three = pool.checkout()
    three.pgconn.send_query(b"SELECT pg_sleep(60)")
    pool.give_back(three)


def come_right(pools: list[ManagedPool]) -> None:
    for pool in pools:
        until(lambda pool=pool: is_whole(pool))  # type: ignore[misc]
        held = hold(pool, 2)
        assert len({conn.info.backend_pid for conn in held}) == 2
        give_back(pool, held)
        pool.close()
    pools.clear()


@pytest.mark.long
def test_an_exception_between_any_two_steps_of_checkout_and_return_costs_no_place(  # P3 P4
    make_pool: MakePool,
) -> None:
    pool, hurt = make_pool(max_size=2, connection_timeout=1), []
    for step in range(1, 100_000):
        with suppress(Interrupted, CheckoutError), interrupted_at(step):
            use(pool)
            break
        with suppress(AssertionError):
            until(lambda pool=pool: is_whole(pool), timeout=0.1)  # type: ignore[misc]
            continue
        hurt.append(pool)
        if len(hurt) == AT_A_TIME:
            come_right(hurt)
        pool = make_pool(max_size=2, connection_timeout=1)
    assert step > 100
    come_right(hurt)
