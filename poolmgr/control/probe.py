"""One look at a target's server through a connection of its own, with a deadline for all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, perf_counter
from typing import Any

import psycopg
from django.db import connections
from psycopg.rows import tuple_row

from poolmgr.backends.postgresql.making import connection_parameters
from poolmgr.conf import Conf, conf
from poolmgr.control.deadline import ended_after
from poolmgr.control.targets import bootstrap_spec, known_targets
from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import application_name, application_name_of
from poolmgr.metrics.health import Verdict, judge_server, worst
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import HealthCheck
from poolmgr.pools import registry
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.liveness import PATIENCE, NoAnswer, break_off, validate
from poolmgr.pools.parting import part
from poolmgr.secrets import scrub

#: Seconds above which a connect or a query that should take milliseconds is worth a warning.
SLOW = 1.0

# Other users' rows hide their backend_type; a user and a database mark what takes one of max_connections.
_FIGURES = """
SELECT array(SELECT pid FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL),
       current_setting('max_connections')::int,
       coalesce(current_setting('superuser_reserved_connections', true)::int, 0)
         + coalesce(current_setting('reserved_connections', true)::int, 0),
       current_setting('server_version'),
       array(SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
               AND application_name LIKE 'poolmgr:%' AND backend_start < now() - make_interval(secs => {age}))
"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found; ``pids`` are the server's, ``names`` those of sessions that are older than a silent process may be."""

    check: HealthCheck
    pids: Sequence[int] = ()
    names: Sequence[str] = ()


class Probe:
    """A check under way; it begins at once.

    In a thread, since looking up a host name can't be given a deadline. The thread ends by its own timeouts.
    ``query``, called in that thread, gives the validation query; None means that of this process's pool or of the
    bootstrap settings.
    """

    def __init__(self, target: str, timeout: float, query: Callable[[], str | None]) -> None:
        self._target = target
        self._timeout = timeout
        self._deadline = monotonic() + timeout
        self._connection: psycopg.Connection[Any] | None = None
        self._results: SimpleQueue[_Seen] = SimpleQueue()
        if target not in known_targets():
            known = ", ".join(known_targets()) or "none"
            self._results.put(_Seen(_outcome(target, "unknown", f"There is no target {target!r}; known are: {known}.")))
            return
        self._wrapper = connections[target]
        self._address = _address(self._wrapper.settings_dict)
        pool = registry.get(target)
        spec = pool.spec if pool else bootstrap_spec(target)
        self._query = query
        self._own_query = spec.validation_query if spec else "SELECT 1"
        Thread(target=self._run, name="poolmgr-probe", daemon=True).start()

    def result(self, ours: Iterable[int], processes: Collection[ProcessBeat] | None = None) -> HealthCheck:
        """An unsaved result, at the latest at the deadline.

        ``ours`` are the server processes behind the fleet's pools, ``processes`` all that live; None where not all are
        known. Where none reports, it isn't theirs to do so.
        """
        try:
            seen = self._results.get(timeout=max(0.001, self._deadline - monotonic()))
        except Empty:
            silent = f"{self._address} accepts connections but is silent"
            where = silent if self._connection else f"no connection to {self._address}"
            return _outcome(
                self._target, "critical", f"The server does not answer within {self._timeout:g} s: {where}."
            )
        check = seen.check
        if seen.pids:
            check.ours = len(set(ours).intersection(seen.pids))
        if processes and (lost := _lost(seen.names, processes)):
            verdict = worst([Verdict(check.state, check.message), lost])
            check.state, check.message = verdict.state, verdict.sentence
        return check

    def _run(self) -> None:
        check, pids, names = HealthCheck(target=self._target), [], []
        try:
            began = perf_counter()
            with psycopg.connect(**self._parameters(), autocommit=True) as connection:
                check.connect_time = perf_counter() - began
                self._connection = connection
                query = self._query() or self._own_query
                began = perf_counter()
                failed = self._validate(connection, query)
                check.query_time = perf_counter() - began
                left = max(0.0, self._deadline - monotonic())
                with (
                    ended_after(left, lambda: break_off(connection)),
                    connection.cursor(row_factory=tuple_row) as cursor,
                ):
                    row: Any = cursor.execute(_FIGURES.format(age=_silence())).fetchone()
            pids, check.server_max, check.server_reserved, version, names = row
            # The probe's own connection is gone by the time that anybody reads this.
            check.server_used = len(pids) - 1
            check.server_version = version[:50]
            verdict = worst([_judge(check), *failed])
            check.state, check.message = verdict.state, verdict.sentence
        except Exception as error:  # whatever keeps it from an answer is the result
            found = diagnose(error)
            sentence = found.sentence[:1].upper() + found.sentence[1:].rstrip(".")
            check.state, check.message = "critical", f"{sentence}: {self._address}."
        self._results.put(_Seen(check, pids, names))

    def _parameters(self) -> dict[str, Any]:
        self._wrapper.check_settings()
        # libpq knows whole seconds and no less than 2; the deadline may be earlier.
        given = {**self._wrapper.get_connection_params(), "connect_timeout": max(2, round(self._timeout))}
        return connection_parameters(given, self._timeout)

    def _validate(self, connection: psycopg.Connection[Any], query: str) -> list[Verdict]:
        try:
            validate(connection, query, self._deadline)
        except NoAnswer:
            # Whoever asks for the result has it by now. The query may wait still, in one session more at each check.
            part(connection, PATIENCE)
            raise
        except psycopg.OperationalError as error:
            if connection.closed:
                raise
            return [Verdict("critical", f"The validation query fails: {diagnose(error).sentence} ({self._address}).")]
        return []


def _silence() -> float:
    """Seconds after which a process that lives has reported."""
    try:
        return conf().PROCESS_TTL
    except ConfigurationError:  # which others tell
        return Conf().PROCESS_TTL


def _lost(names: Sequence[str], processes: Collection[ProcessBeat]) -> Verdict | None:
    """What processes hold that report no more: frozen, or cut off from the fleet's store, and in no budget any more."""
    known = {application_name(), *(application_name_of(beat.role, beat.host, beat.pid) for beat in processes)}
    lost = Counter(name for name in names if name not in known)
    if not lost:
        return None
    told = ", ".join(f"{name} ({number})" for name, number in lost.most_common(3)) + (
        " and others" if len(lost) > 3 else ""
    )
    return Verdict(
        "warning",
        f"Processes that do not report hold connections, which no budget counts: {told}. They are frozen, or cut off.",
    )


def _judge(check: HealthCheck) -> Verdict:
    found = [judge_server(check.server_used or 0, check.server_max or 0, check.server_reserved or 0)]
    for name, seconds in (("Connecting", check.connect_time), ("The validation query", check.query_time)):
        if seconds is not None and seconds > SLOW:
            found.append(Verdict("warning", f"{name} took {seconds:.1f} s."))
    return worst(found)


def _outcome(target: str, state: str, message: str) -> HealthCheck:
    return HealthCheck(target=scrub(target)[:200], state=state, message=scrub(message)[:500])


def _address(database: dict[str, Any]) -> str:
    return scrub(f"{database['HOST'] or 'local socket'}:{database['PORT'] or 5432}/{database['NAME']}")
