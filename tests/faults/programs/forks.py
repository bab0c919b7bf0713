"""Forks of a process whose pool is in use: python -m tests.faults.programs.forks SCENE python|libc"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from tests.faults.programs.site import configure, query, report, sessions

configure()

from django.db import ProgrammingError, connection, connections, transaction  # noqa: E402

import poolmgr  # noqa: E402
from tests.tenants import Tenants  # noqa: E402

#: Python tells its hooks of the first only; the second is how uWSGI and C extensions fork.
FORKS: dict[str, Callable[[], int]] = {"python": os.fork, "libc": ctypes.PyDLL(None).fork}
fork = FORKS[sys.argv[2]]


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returned in a forked child that ended as any Python program ends: through its exit handlers."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        os.close(reading)
        try:
            answer = work()
        except BaseException as ex:
            answer = f"{type(ex).__name__}: {ex}"
        os.write(writing, json.dumps(answer).encode())
        sys.exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    assert answer, f"the child said nothing and ended with status {status}"
    return {"answer": json.loads(answer), "status": status}


def idle() -> dict[str, Any]:
    """The child queries on connections of its own, closes its pool and ends; the parent's sessions live on."""
    pids = warm(3)

    def child() -> Any:
        mine = query()
        connections.close_all()
        connection.close_pool()
        again = query()
        return [mine in pids, again in pids, poolmgr.pool().snapshot().used <= 1]

    told = in_child(child)
    return {"child": told, "kept": pids <= sessions(), "parent": sorted({query() for _ in range(9)})[0] in pids}


def waiting() -> dict[str, Any]:
    """Threads of the parent's wait while it forks; as many of the child's wait and are woken, after it has queried."""
    many = 400
    queues: list[SimpleQueue[int]] = [SimpleQueue() for _ in range(many)]
    for each in queues[: many // 2]:
        Thread(target=each.get, daemon=True).start()
    warm(1)

    def child() -> Any:
        query()
        threads = [Thread(target=each.get) for each in queues[many // 2 :]]
        for thread in threads:
            thread.start()
        for number, each in enumerate(queues[many // 2 :]):
            each.put(number)
        for thread in threads:
            thread.join()
        return len(threads)

    return {"child": in_child(child)}


def borrowed() -> dict[str, Any]:
    """A connection is checked out, with session state, while the process forks."""
    with poolmgr.pinned():
        pid = query()
        query("SET application_name = 'program'; SET work_mem = '7MB'")

        def child() -> Any:
            return [query() == pid, query("SHOW work_mem")]

        told = in_child(child)
        return {"child": told, "same": query() == pid, "state": query("SHOW work_mem")}


def in_atomic() -> dict[str, Any]:
    """Inside atomic() the child is told that the transaction isn't its own; after it, it may query."""
    query("CREATE TABLE IF NOT EXISTS forked (a int)")
    with transaction.atomic():
        pid = query()
        query("INSERT INTO forked VALUES (1)")
        child = fork()
        if child == 0:
            outcome = "queried"
            try:
                query()
            except ProgrammingError as ex:
                outcome = str(ex)
        else:
            os.waitpid(child, 0)
            same = query() == pid
    if child == 0:
        with open(os.environ["TOLD"], "w") as told:
            json.dump([outcome, query() == pid, query("SELECT count(*) FROM forked")], told)
        sys.exit(0)
    rows = query("SELECT count(*) FROM forked")
    query("DROP TABLE forked")
    with open(os.environ["TOLD"]) as told:
        return {"child": json.load(told), "same": same, "rows": rows}


def open_cursor() -> dict[str, Any]:
    """A server-side cursor is open: neither its use nor its end in the child reaches the parent's session."""
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 1000)")
    first = cursor.fetchmany(10)

    def child() -> Any:
        failed = ""
        try:
            cursor.fetchmany(10)
        except Exception as ex:
            failed = type(ex).__name__
        cursor.close()
        return [failed, query("SELECT 5")]

    told = in_child(child)
    rest = cursor.fetchall()
    cursor.close()
    return {"child": told, "rows": len(first) + len(rest), "alive": query("SELECT 5")}


def under_load() -> dict[str, Any]:
    """Threads keep the pool's locks busy while the process forks again and again: no child hangs on one of them."""
    query()  # imports what it takes: a fork in the middle of an import hangs any Python program
    ended = threading.Event()
    errors: list[str] = []

    def load() -> None:
        while not ended.is_set():
            try:
                query()
            except Exception as ex:
                errors.append(repr(ex))
            connection.close()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    answers = [in_child(lambda: query("SELECT 5"))["answer"] for _ in range(8)]
    ended.set()
    for thread in threads:
        thread.join()
    return {"answers": answers, "errors": errors}


def killed_parent_frees_its_sessions() -> dict[str, Any]:
    """A child that outlives its killed parent keeps none of the parent's sessions open."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        pids = warm(3)
        if (heir := os.fork()) == 0:
            time.sleep(20)
            os._exit(0)
        os.write(writing, json.dumps([heir, *pids]).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    heir, *inherited = json.loads(os.read(reading, 4096))
    pids = set(inherited)
    deadline = time.monotonic() + 5
    while pids & sessions() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(heir, signal.SIGKILL)
    return {"left": len(pids & sessions())}


def subclass() -> dict[str, Any]:
    """A site's subclass remembers what it has set on the connection, which is not the child's."""
    for each in ("acme", "globex"):
        query(f"CREATE SCHEMA {each}; CREATE TABLE {each}.name AS SELECT '{each}' AS value")
    connection.close()
    connections["default"] = mine = Tenants(connections.settings["default"], "default")
    mine.schema = "acme"
    before = query("SELECT value FROM name")
    told = in_child(lambda: [query("SELECT value FROM name"), query("SHOW search_path")])
    after = query("SELECT value FROM name")
    query("DROP SCHEMA acme CASCADE; DROP SCHEMA globex CASCADE")
    return {"before": before, "child": told, "after": after}


def threads() -> dict[str, Any]:
    """A child knows no thread but its own; what Python still has of the parent's leads to memory that others use."""
    import psutil

    from poolmgr.pools.owners import running

    warm(3)

    def child() -> Any:
        return [len(running()) <= psutil.Process().num_threads(), query("SELECT 5")]

    return in_child(child)


def raw_pool() -> dict[str, Any]:
    """A pool that somebody made by hand is closed in the child, and a connection of it is out of reach."""
    from poolmgr.exceptions import PoolClosed

    pool = poolmgr.pool()
    with pool.connection() as conn:
        pid = conn.info.backend_pid

        def child() -> Any:
            failed = []
            for attempt in (pool.checkout, lambda: conn.execute("SELECT 1")):
                try:
                    attempt()
                except Exception as ex:
                    failed.append(isinstance(ex, PoolClosed) or type(ex).__name__)
            pool.give_back(conn)
            return failed

        told = in_child(child)
        alive = conn.execute("SELECT pg_backend_pid()").fetchone()[0] == pid
    return {"child": told, "alive": alive}


def workers() -> dict[str, Any]:
    """Workers of a master that holds a connection ask all at once: which answers were another's, and whose sessions."""
    before = warm(2)
    ways: list[tuple[int, int]] = []
    with poolmgr.pinned():
        before.add(query())
        for number in range(3):
            reading, writing = os.pipe()
            if (child := fork()) == 0:
                answers = [(query(f"SELECT {number * 1000 + each}"), query()) for each in range(80)]
                wrong = [got for each, (got, _) in enumerate(answers) if got != number * 1000 + each]
                os.write(writing, json.dumps([len(wrong), sorted({pid for _, pid in answers})]).encode())
                sys.exit(0)
            os.close(writing)
            ways.append((child, reading))
        told = []
        for child, reading in ways:
            with os.fdopen(reading) as told_by_child:
                told.append(json.loads(told_by_child.read() or "null"))
            os.waitpid(child, 0)
        same = query() in before
    sessions_of = [set(each[1]) if each else None for each in told]
    return {
        "wrong": [each and each[0] for each in told],
        "shared": [each and len(each & before) for each in sessions_of],
        "apart": len(set().union(*filter(None, sessions_of))) == 3,
        "parent": same,
    }


def unpooled_transaction() -> dict[str, Any]:
    """A child that commits and closes what its parent has begun on a connection without a pool ends nothing of it."""
    query("CREATE TABLE IF NOT EXISTS forked (a int)")
    with poolmgr.unpooled():
        pid = query()
        transaction.set_autocommit(False)
        query("INSERT INTO forked VALUES (1)")

        def child() -> None:
            transaction.commit()
            connection.close()

        status = in_child(child)["status"]
        same = query() == pid
        transaction.rollback()
        transaction.set_autocommit(True)
    rows = query("SELECT count(*) FROM forked")
    query("DROP TABLE forked")
    return {"status": status, "rows": rows, "parent": same}


def worker_pool() -> dict[str, Any]:
    """multiprocessing's fork pool: each worker has a pool of its own, no larger than allowed."""
    import multiprocessing

    before = warm(2)
    with multiprocessing.get_context("fork").Pool(3) as workers:
        pids = workers.map(work, range(60), chunksize=1)
        most = len(sessions() - before)
    return {"shared": len(before & set(pids)), "most": most, "kept": before <= sessions()}


def work(number: int) -> int:
    pid = query()
    connection.close()
    return int(pid)


def warm(number: int) -> set[int]:
    """So many idle connections."""
    pool = poolmgr.pool()
    held = [pool.checkout() for _ in range(number)]
    for conn in held:
        pool.give_back(conn)
    return {conn.info.backend_pid for conn in held}


if __name__ == "__main__":
    report(**globals()[sys.argv[1]]())
