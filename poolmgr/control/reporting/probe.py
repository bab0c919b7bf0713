"""One look at a target's server through a connection of its own, with a deadline for all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from poolmgr.conf import Conf, conf
from poolmgr.control.reporting.ours import names
from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import application_name, application_name_of
from poolmgr.metrics.blocking import blocked
from poolmgr.metrics.health import Verdict, judge_server, worst
from poolmgr.metrics.phrases import bare, capital, phrase
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.metrics.words import span
from poolmgr.models import HealthCheck
from poolmgr.pools import registry
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.kinds import Kind
from poolmgr.pools.looking import Look
from poolmgr.secrets import scrub
from poolmgr.targets.known import address_of, bootstrap_spec, kind_of, known_targets, prepare_look, prober

#: Seconds above which a connect or a query that should take milliseconds is worth a warning.
SLOW = 1.0


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
        self._results: SimpleQueue[HealthCheck] = SimpleQueue()
        kind = kind_of(target)
        if kind is None:
            self._look = Look("")
            self._results.put(_outcome(target, "unknown", _no_target(target)))
            return
        self._kind = kind
        self._look = Look(address_of(target))
        pool = registry.get(target)
        spec = (pool.spec if pool else bootstrap_spec(target)) or kind.defaults
        self._query = lambda: query() or spec.validation_query
        with suppress(Exception):  # which the look tells
            prepare_look(kind, target)
        Thread(target=self._run, name="poolmgr-probe", daemon=True).start()

    @property
    def query_error(self) -> str | None:
        """What the server has said to the validation query by now: "" where it works, None where there is no answer yet."""
        return self._look.query_error

    def result(
        self, ours: Collection[int], processes: Collection[ProcessBeat] | None = None, poolers: Iterable[int] = ()
    ) -> HealthCheck:
        """An unsaved result, at the latest at the deadline.

        ``ours`` are the server's ids of the fleet's connections, ``processes`` all that live; None where not all are
        known. Where none reports, it isn't theirs to do so. ``poolers`` are the ids of the connections that a pooler before
        the server has, as far as that is a target too.
        """
        look = self._look
        try:
            check = self._results.get(timeout=max(0.001, self._deadline - monotonic()))
        except Empty:
            return _outcome(self._target, "critical", self._silence())
        if look.behind_pooler:
            check.ours = len(set(poolers).intersection(look.ids or ())) or look.named or None
        elif look.ids is not None:
            check.ours = len(set(ours).intersection(look.ids))
        found = [Verdict(check.state, check.sentence)]
        if processes and (lost := _lost(look.names, processes)):
            found.append(lost)
        if not look.behind_pooler and (held_up := blocked(look.sessions, ours, names(self._target, processes or ()))):
            found.append(Verdict("warning", phrase("%(said)s.", said=held_up.sentence)))
        verdict = worst(found)
        check.state, check.sentence = verdict.state, verdict.sentence
        return check

    def _silence(self) -> str:
        time, address = float(self._timeout), self._look.address
        if self._look.connected:
            return phrase(
                "The server does not answer within %(time)s s: %(address)s accepts connections but is silent.",
                time=time,
                address=address,
            )
        return phrase(
            "The server does not answer within %(time)s s: no connection to %(address)s.", time=time, address=address
        )

    def _run(self) -> None:
        check, look = HealthCheck(target=self._target), self._look
        try:
            prober(self._kind)(self._target, look, self._query, self._deadline, silence())
            check.server_used, check.server_max, check.server_reserved = look.used, look.most, look.reserved
            check.server_version, check.behind_pooler = look.version[:50], look.behind_pooler
            verdict = worst([*_judge(look, self._kind), *look.verdicts])
            check.state, check.sentence = verdict.state, verdict.sentence
        except Exception as error:  # whatever keeps it from an answer is the result
            failed = capital(bare(diagnose(error).sentence))
            check.state = "critical"
            check.sentence = phrase("%(error)s: %(address)s.", error=failed, address=look.address)
        check.connect_time, check.query_time = look.connect_time, look.query_time
        self._results.put(check)


def silence() -> float:
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
    told = ", ".join(f"{name} ({number})" for name, number in lost.most_common(3))
    if len(lost) > 3:
        told = phrase("%(names)s and others", names=told)
    said = phrase(
        "Processes that do not report hold connections, which no budget counts: %(names)s. They are frozen, or cut off.",
        names=told,
    )
    return Verdict("warning", said)


def _judge(look: Look, kind: Kind) -> list[Verdict]:
    found = [judge_server(look.used, look.most, look.reserved or 0, kind.unit)]
    if look.connect_time is not None and look.connect_time > SLOW:
        found.append(Verdict("warning", phrase("Connecting took %(time)s.", time=span(look.connect_time))))
    if look.query_time is not None and look.query_time > SLOW:
        found.append(Verdict("warning", phrase("The validation query took %(time)s.", time=span(look.query_time))))
    return found


def _no_target(target: str) -> str:
    known = ", ".join(known_targets())
    named = scrub(f"{target!r}")
    if not known:
        return phrase("There is no target %(target)s; none is known.", target=named)
    return phrase("There is no target %(target)s; known are: %(known)s.", target=named, known=known)


def _outcome(target: str, state: str, sentence: str) -> HealthCheck:
    check = HealthCheck(target=scrub(target)[:200], state=state)
    check.sentence = sentence
    return check
