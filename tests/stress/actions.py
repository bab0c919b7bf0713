"""What the stressed threads do, and the only errors that each may meet."""

import gc
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

import psycopg
from django.core.signals import request_finished, request_started
from django.db import Error, connections, transaction

import poolmgr
from poolmgr.exceptions import ModeError
from poolmgr.pools.sql.pinning import reasons

ALIAS = "stressed"


class Violation(AssertionError):
    """A promise is broken."""


class World:
    """What all threads know: who holds which server process, and what happened. Guarded by ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owners: dict[int, str] = {}
        self.violations: list[str] = []
        self.done: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.committed = 0
        self.uncertain = 0
        self.ended = threading.Event()
        self.numbers = iter(range(10**9))

    def break_promise(self, what: str) -> None:
        with self.lock:
            self.violations.append(what)
        self.ended.set()

    @contextmanager
    def owning(self, pid: int, token: str) -> Iterator[None]:
        """For the block, ``token`` is the only owner of the server process."""
        with self.lock:
            other = self.owners.get(pid)
            self.owners[pid] = token
        if other is not None and other != token:
            raise Violation(f"server process {pid} has two owners, {other} and {token}")
        try:
            yield
        finally:
            with self.lock:
                if self.owners.get(pid) == token and other is None:
                    del self.owners[pid]

    def note(self, counter: dict[str, int], key: str) -> None:
        with self.lock:
            counter[key] = counter.get(key, 0) + 1


# -- state that must not cross ------------------------------------------------------------------------------------------

#: What leaves a trace in the session, and how the trace shows.
TRACES: dict[str, tuple[str, str]] = {
    "setting": ("SET statement_timeout = 54321", "current_setting('statement_timeout') <> '0'"),
    "custom": (
        "SELECT set_config('app.owner', '{token}', false)",
        "coalesce(current_setting('app.owner', true), '') <> ''",
    ),
    "table": (
        "CREATE TEMP TABLE IF NOT EXISTS mine (a int)",
        "EXISTS (SELECT FROM pg_class WHERE relname = 'mine' AND relnamespace = pg_my_temp_schema())",
    ),
    "lock": (
        "SELECT pg_advisory_lock({number})",
        "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    "channel": ("LISTEN news", "EXISTS (SELECT FROM pg_listening_channels())"),
    "statement": ("PREPARE mine_{number} AS SELECT 1", "EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql)"),
    "cursor": (
        "DECLARE mine_{number} CURSOR WITH HOLD FOR SELECT 1",
        "EXISTS (SELECT FROM pg_cursors WHERE name <> '')",
    ),
    "role": ("SET ROLE poolmgr", "current_setting('role') <> 'none'"),
    "transaction": ("", "pg_current_xact_id_if_assigned() IS NOT NULL"),
}
_LOOK = "SELECT pg_backend_pid(), coalesce(current_setting('app.owner', true), ''), " + ", ".join(
    shows for _, shows in TRACES.values()
)

assert not reasons(_LOOK), "to look must not itself pin"


class Request:
    """What one thread does between taking up a request and ending it."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.token = f"{threading.current_thread().name}.{next(world.numbers)}"
        #: The traces that this request may find, since it left them itself.
        self.mine: set[str] = set()
        self.kept: list[Any] = []

    def query(self, statement: str, *parameters: Any) -> Any:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else None

    def look(self) -> int:
        """The server process, which shows no trace of anybody else."""
        [[pid, owner, *found]] = self.query(_LOOK)
        seen = {name for name, is_there in zip(TRACES, found, strict=True) if is_there}
        if strange := seen - self.mine:
            raise Violation(
                f"{self.token} finds what somebody left in server process {pid}: {', '.join(strange)} {owner}"
            )
        if owner and owner != self.token:
            raise Violation(f"{self.token} finds the setting of {owner} in server process {pid}")
        return int(pid)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A connection held in one of the ways there are."""
        ways = [transaction.atomic, poolmgr.pinned, self._manual, self._raw, self._cursor]
        with self.random.choice(ways)(ALIAS), self.world.owning(self.look(), self.token):
            yield

    @contextmanager
    def _manual(self, alias: str) -> Iterator[None]:
        transaction.set_autocommit(False, alias)
        try:
            yield
            transaction.commit(alias)
            transaction.set_autocommit(True, alias)
        except Exception:
            self.end()
            raise

    @contextmanager
    def _raw(self, alias: str) -> Iterator[None]:
        try:
            self.query("BEGIN")
            yield
            # Left open now and then, for the pool to roll back.
            if self.random.random() < 0.7:
                self.query("COMMIT")
                return
        except Exception:
            self.end()
            raise
        self.end()

    @contextmanager
    def _cursor(self, alias: str) -> Iterator[None]:
        cursor = connections[ALIAS].cursor()
        cursor.execute("SELECT 1")
        yield
        # Left for the garbage collector now and then.
        if self.random.random() < 0.7:
            cursor.close()

    def end(self) -> None:
        """Give the connection back with whatever is on it."""
        connections[ALIAS].close()
        self.mine.clear()

    def pause(self) -> None:
        self.query(f"SELECT pg_sleep({self.random.uniform(0, 0.01):.4f})")


# -- the actions --------------------------------------------------------------------------------------------------------


def read(request: Request) -> None:
    request.look()


def hold(request: Request) -> None:
    with request.hold():
        request.pause()
        request.pause()


def write(request: Request) -> None:
    """Nested blocks that commit or fail; the rows tell afterwards whether anything was lost or doubled."""
    world, random = request.world, request.random
    fails = random.random() < 0.3
    certain = doomed = False
    try:
        with transaction.atomic(ALIAS), world.owning(request.look(), request.token):
            request.mine.add("transaction")
            request.query("INSERT INTO stress VALUES (%s)", request.token)
            for _ in range(random.randrange(3)):
                try:
                    with transaction.atomic(ALIAS):
                        request.query("INSERT INTO stress VALUES (%s)", "inner")
                        if random.random() < 0.5:
                            request.query("SELECT 1 / 0")
                        fail()
                except (ZeroDivisionError, Error) as ex:
                    if isinstance(ex, Error) and "division by zero" not in str(ex):
                        raise
            if random.random() < 0.3:
                transaction.on_commit(lambda: hook(request), using=ALIAS)
            if fails:
                certain = True
                fail()
            certain = False
            # Where a connection dies as a savepoint is rolled back, Django keeps the error to itself and commits nothing.
            doomed = transaction.get_rollback(ALIAS)
    except ZeroDivisionError:
        pass
    except Error:
        # Whether a commit that failed took place, nobody knows.
        with world.lock:
            world.uncertain += 1
        raise
    else:
        world.note(world.done, "doomed" if doomed else "committed")
        with world.lock:
            world.committed += not doomed
    finally:
        request.mine.discard("transaction")
    assert certain == fails


def fail() -> None:
    raise ZeroDivisionError


def hook(request: Request) -> None:
    request.mine.discard("transaction")
    request.look()


def abandon_rows(request: Request) -> None:
    """A server-side cursor, read half-way; dropped at once, caught in a cycle, or kept beyond the end of the request."""

    def rows() -> Iterator[Any]:
        cursor = connections[ALIAS].chunked_cursor()
        try:
            cursor.execute("SELECT generate_series(1, 500)")
            yield from iter(lambda: cursor.fetchmany(50), [])
        finally:
            try:
                cursor.close()
            except psycopg.Error as ex:  # Django wraps what a cursor's close() raises no more than we do
                judge(request.world, "abandon_rows", ex)

    with ExitStack() as stack:
        if request.random.random() < 0.3:
            stack.enter_context(transaction.atomic(ALIAS))
        request.mine.add("cursor")
        each = rows()
        next(each)
        with request.world.owning(request.look(), request.token):
            next(each)
        fate = request.random.randrange(3)
        if fate == 1:
            cycle: list[Any] = [each]
            cycle.append(cycle)
        elif fate == 2:
            request.kept.append(each)
        del each


def leave_traces(request: Request) -> None:
    """Session state of some kinds, left for the pool to clean."""
    names = request.random.sample([name for name in TRACES if name != "transaction"], request.random.randint(1, 3))
    for name in names:
        # Known before it is made: a statement that fails half-way may have made it.
        request.mine.add(name)
        number = next(request.world.numbers)
        request.query(TRACES[name][0].format(token=request.token, number=number))
        with request.world.owning(request.look(), request.token):
            request.pause()


def be_cancelled(request: Request) -> None:
    """Long enough for the one who cancels to find it."""
    with request.hold():
        request.query("SELECT pg_sleep(0.15) /* cancel me */")


def die(request: Request) -> None:
    """A thread ends without a word, holding a connection with state."""

    def live() -> None:
        short = Request(request.world, Random(request.random.random()))
        try:
            short.query("BEGIN")
            short.mine.add("transaction")
            if short.random.random() < 0.5:
                leave_traces(short)
            with short.world.owning(short.look(), short.token):
                short.pause()
        except Exception as ex:
            judge(request.world, "die", ex)

    # To hold one connection while waiting for another would be a deadlock of our own making.
    request.end()
    thread = threading.Thread(target=live)
    thread.start()
    thread.join()


def let_go(request: Request) -> None:
    """Around a slow call, as the API has it."""
    request.end()
    request.look()
    with poolmgr.released(ALIAS):
        pass
    with poolmgr.unpooled(ALIAS), transaction.atomic(ALIAS):
        request.look()
    request.look()


def collect(request: Request) -> None:
    gc.collect()


ACTIONS: dict[Callable[[Request], None], int] = {
    read: 200,
    hold: 100,
    write: 150,
    abandon_rows: 100,
    leave_traces: 80,
    let_go: 30,
    be_cancelled: 15,
    collect: 10,
    die: 3,
}

# -- the known errors ---------------------------------------------------------------------------------------------------

#: Killed backends hit anybody, and a cancellation may arrive when its statement is over and hit the next one.
ANYBODY = (
    r"terminating connection due to administrator command",
    r"server closed the connection unexpectedly",
    r"the connection is (closed|lost)|connection socket closed",
    r"consuming input failed|sending (query|prepared query) failed|SSL SYSCALL|EOF detected",
    r"Cannot open a new connection in an atomic block",
    r"canceling statement due to user request",
)
KNOWN: dict[str, tuple[str, ...]] = {
    # A cursor whose backend was killed as it was closed.
    "abandon_rows": (r"received 0 results from command 'CLOSE",),
    # Its connection may have been killed since: a rest of state then keeps it.
    "let_go": (r"released\(\) is refused", r"unpooled\(\) is refused"),
}


def judge(world: World, action: str, error: Exception) -> None:
    """Count a known error; anything else breaks a promise."""
    text = str(error)
    if isinstance(error, ModeError):
        kind = "ModeError"
    elif isinstance(error, (Error, psycopg.Error)) and (
        found := next((each for each in (*ANYBODY, *KNOWN.get(action, ())) if re.search(each, text)), None)
    ):
        kind = f"{type(error).__name__}: {found}"
    else:
        world.break_promise(f"{action}: {type(error).__name__}: {text}")
        return
    world.note(world.errors, f"{action}: {kind}")


def serve(world: World, random: Random) -> None:
    """Requests until the world ends."""
    actions, weights = list(ACTIONS), list(ACTIONS.values())
    while not world.ended.is_set():
        request = Request(world, random)
        request_started.send(sender=None)
        try:
            for action in random.choices(actions, weights, k=random.randint(1, 4)):
                world.note(world.done, action.__name__)
                try:
                    action(request)
                except Exception as ex:
                    judge(world, action.__name__, ex)
        finally:
            try:
                request_finished.send(sender=None)
            except Error as ex:
                judge(world, "end", ex)
            request.kept.clear()
    connections[ALIAS].close()
