"""One report for programs and people: checks made now from this process, beside what the fleet says of itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

from poolmgr.control.access import control_database, sentence_of
from poolmgr.control.desired import read_profiles, validation_queries
from poolmgr.control.reporting.beats import Beats, read_beats
from poolmgr.control.reporting.fleet import Fleet, fleet_of, read_fleet
from poolmgr.control.reporting.ours import our_pids, pooler_pids
from poolmgr.control.reporting.probe import Probe
from poolmgr.control.reporting.views import TargetView
from poolmgr.metrics.health import Verdict, worst
from poolmgr.metrics.phrases import phrase
from poolmgr.models import HealthCheck
from poolmgr.secrets import scrub
from poolmgr.targets.known import kind_of, known_targets

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TargetReport:
    """``check`` was made now; ``view`` is the fleet's, None while no live process has the pool."""

    target: str
    verdict: Verdict
    check: HealthCheck
    view: TargetView | None

    @property
    def kind(self) -> str:
        """Its name; empty for a target that nobody knows."""
        kind = kind_of(self.target)
        return self.view.kind if self.view else kind.name if kind else ""


@dataclass(frozen=True, slots=True)
class Report:
    """``verdict`` is the worst of all targets and of the fleet store."""

    verdict: Verdict
    targets: tuple[TargetReport, ...]
    fleet: Fleet


def make_report(targets: tuple[str, ...] = (), timeout: float = 5.0) -> Report:
    """Check ``targets``, or all that are known, within about ``timeout`` seconds altogether. Never raises."""
    deadline = monotonic() + timeout
    queries: Future[dict[str, str]] = Future()

    def query_of(target: str) -> str | None:
        # Where the profiles can't be read soon, the settings' own query has to do.
        with suppress(TimeoutError):
            return queries.result(timeout / 2).get(target)
        return None

    targets = tuple(map(scrub, targets)) or known_targets()
    probes = {target: Probe(target, timeout, partial(query_of, target)) for target in targets}
    fleet = _fleet_by(deadline, timeout, queries)
    all_known = None if fleet.store_error or fleet.unread else fleet.processes
    views = {view.target: view for view in fleet.targets if view.processes}
    reports = []
    for target, probe in probes.items():
        live = fleet.processes
        check = probe.result(our_pids(target, live), all_known, pooler_pids(target, live))
        found = [Verdict(check.state, check.sentence)]
        if view := views.get(target):
            found.append(view.of_pools)
        reports.append(TargetReport(target, worst(found), check, views.get(target)))
    verdicts = [report.verdict for report in reports]
    if fleet.store_error:
        verdicts.append(Verdict("warning" if fleet.store else "unknown", fleet.store_error))
    if fleet.unread:
        verdicts.append(Verdict("warning", fleet.unread_error))
    verdicts.extend(Verdict(each.state, each.said) for each in fleet.troubles)
    return Report(worst(verdicts), tuple(reports), fleet)


def _fleet_by(deadline: float, timeout: float, queries: Future[dict[str, str]]) -> Fleet:
    def rows() -> Fleet:
        try:
            queries.set_result(validation_queries(read_profiles()))
        except Exception:  # which the fleet then says
            queries.set_result({})
        return read_fleet(beats.result())

    # Each in its own time: beats that Redis has told are not lost with a control database that went silent.
    beats = _in_thread(read_beats)
    fleet = _in_thread(rows)  # begins at once, and asks for the beats
    try:
        return fleet.result(max(0.001, deadline - monotonic()))
    except TimeoutError:
        sentence: str = phrase("The control database does not answer within %(time)s s.", time=float(timeout))
    except Exception as error:
        sentence = sentence_of(error)
        if not queries.done():
            queries.set_result({})  # the checks need not wait for it
    try:
        return fleet_of(beats.result(0), None, {}, sentence)
    except Exception:
        return fleet_of(Beats((), "", ()), None, {}, sentence)


def _in_thread(read: Callable[[], _T]) -> Future[_T]:
    """What ``read`` returns or raises, on a connection of its own, whose ``connect_timeout`` is longer than our patience."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            with control_database():
                result = read()
        except Exception as error:  # whatever it is, the report must say so
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=run, name="poolmgr-report", daemon=True).start()
    return future


def as_dict(report: Report) -> dict[str, Any]:
    """The report as plain values for JSON. Durations in seconds."""
    return {
        "state": report.verdict.state,
        "message": report.verdict.sentence,
        "at": report.fleet.at,
        "store": report.fleet.store,
        "store_error": report.fleet.store_error,
        "unread": [asdict(each) for each in report.fleet.unread],
        "processes": len(report.fleet.processes),
        "targets": [_target_as_dict(each) for each in report.targets],
    }


def _target_as_dict(report: TargetReport) -> dict[str, Any]:
    check, view = report.check, report.view
    server = {
        name: getattr(check, name)
        for name in (
            "connect_time",
            "query_time",
            "server_used",
            "server_max",
            "server_reserved",
            "ours",
            "behind_pooler",
            "server_version",
        )
    }
    return {
        "target": report.target,
        "kind": report.kind,
        "state": report.verdict.state,
        "message": report.verdict.sentence,
        "check": {"state": check.state, "message": check.message, **server},
        "fleet": view_as_dict(view) if view else None,
    }


def view_as_dict(view: TargetView) -> dict[str, Any]:
    figures = ["address", "processes", "idle", "used", "pending", "opening", "capacity"]
    figures += ["oldest_checkout", "timeouts", "refused", "paused"]
    times = {
        f"{name}_p{percent}": spread.quantile(percent / 100)
        for name, spread in (("wait", view.wait), ("use", view.use))
        for percent in (50, 95, 99)
    }
    return {
        "state": view.of_pools.state,
        "message": view.of_pools.sentence,
        **{name: getattr(view, name) for name in figures},
        **times,
        **{f"{name}_mean": seconds for name, seconds in view.means.items()},
        "applied": {"current": view.applied[0], "of": view.applied[1]},
        "profiles": list(view.profiles),
    }
