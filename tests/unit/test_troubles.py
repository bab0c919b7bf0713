"""What is wrong with processes, whatever the target: told once, and nothing that a pool is to blame for."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from poolmgr.control.reporting.beats import Beats
from poolmgr.control.reporting.troubles import Trouble, troubles
from poolmgr.metrics.serving import Served, Serving
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat

NOW = 1_800_000_000.0
POOL = PoolSnapshot("default", max_size=4, limit=4, used=1)
STUCK = Serving(2, 2, stuck=5.0, views=(Served("GET /quotes/", 2, 7.0),))


def beat(pid: int, silent: float = 0.0, **more: Any) -> ProcessBeat:
    values: dict[str, Any] = {"role": "web", "pools": (POOL,), **more}
    return ProcessBeat(uid=f"host-{pid}", host="host", pid=pid, started=NOW - 60, at=NOW - silent, **values)


def found(*processes: ProcessBeat, errors: str = "") -> tuple[Trouble, ...]:
    return troubles(Beats(processes, "redis", ()), errors, NOW)


def test_a_process_without_heartbeats_is_named_with_since_when() -> None:
    [trouble] = found(beat(1), beat(2, silent=9.0, role="worker"), beat(3, silent=6.0))
    assert (trouble.code, trouble.state, trouble.since, trouble.uids) == ("silent", "unknown", NOW - 9, ("host-2",))
    assert trouble.said == (
        "host:2: No heartbeat of this worker process for 9 s: it was killed, stands still, or is cut off."
    )


def test_several_of_them_are_one_trouble() -> None:
    [trouble] = found(*(beat(n, silent=10.0 + n) for n in range(5)))
    assert trouble.said.startswith("host:4, host:3, host:2 and 2 more: No heartbeat of these 5 processes for 10 s:")


def test_threads_that_are_used_up_say_with_what_and_that_no_pool_is_short() -> None:
    [trouble] = found(beat(1, serving=STUCK))
    assert (trouble.code, trouble.state, trouble.since) == ("threads", "critical", NOW - 5)
    assert trouble.said == (
        "host:1: All 2 request threads are busy, and none has come free for 5 s (2 in GET /quotes/, the longest for 7 s). The"
        " pools are not what is short: 1 of 4 connections are in use, and nobody waits for one."
    )


def test_while_another_process_has_threads_it_is_trouble_only_where_requests_wait() -> None:
    """As with workers of one thread each, of which one serves a long request."""
    free = Serving(2, 1)
    assert found(beat(1, serving=STUCK), beat(2, serving=free), beat(3)) == ()
    queue = Serving(2, 2, waiting=3, stuck=5.0)
    [trouble] = found(beat(1, serving=queue), beat(2, serving=free), beat(4, serving=STUCK))
    assert (trouble.state, trouble.processes) == ("critical", ("host:1",))
    assert "All 2 request threads are busy in 1 of 3 processes, and none" in trouble.said
    assert "; 3 requests wait for a thread. The pools" in trouble.said


def test_a_busy_moment_and_threads_that_wait_for_the_pool_are_none() -> None:
    assert found(beat(1, serving=Serving(2, 2, stuck=2.0))) == ()
    waiting = PoolSnapshot("default", max_size=4, limit=4, used=4, pending=1)
    assert found(beat(1, serving=STUCK, pools=(waiting,))) == ()


def test_what_processes_say_of_themselves_is_told_once_and_the_worst_comes_first() -> None:
    said = "The settings of 'default' are wrong."
    first, second = found(beat(1, problems=(said,)), beat(2, problems=(said,), serving=replace(STUCK, waiting=1)))
    assert (first.code, second.code) == ("threads", "trouble")
    assert second.said == f"host:1, host:2: {said}"
    assert found(beat(1, problems=(said,)), errors=said) == ()
