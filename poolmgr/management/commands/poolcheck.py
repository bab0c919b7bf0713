"""``manage.py poolcheck``: is every pool well? For people, for programs, and by exit status for monitoring."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser
from django.utils.termcolors import make_style

from poolmgr.control import agent
from poolmgr.control.reporting.documents.holders import held
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.report import Report, TargetReport, as_dict, make_report
from poolmgr.control.reporting.views import NOBODY, UNREAD
from poolmgr.management.terminal.english import EnglishCommand
from poolmgr.metrics.words import span

#: Holders that are named of a target that is not well.
_HOLDERS = 3
#: Nagios' convention.
EXIT = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
#: As of a process that SIGPIPE ended, and no verdict.
_HUNG_UP = 141
_COLOURS = {
    "ok": make_style(fg="green"),
    "warning": make_style(fg="yellow", opts=("bold",)),
    "critical": make_style(fg="red", opts=("bold",)),
    "unknown": make_style(fg="magenta"),
}
_HEADS = (
    "TARGET",
    "KIND",
    "STATE",
    "PROCESSES",
    "USED",
    "IDLE",
    "WAITING",
    "CAPACITY",
    "WAIT P95",
    "CONNECT",
    "SERVER",
)
_DASH = "-"
#: In letters that every terminal has.
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_CLEAR = "\x1b[2J\x1b[H"


class Command(EnglishCommand):
    help = (
        "Check the server of each target now from this process, and read what the fleet says of its pools. "
        "Exit status: 0 ok, 1 warning, 2 critical, 3 unknown."
    )
    # A check of the database's state must also run where the system checks find fault.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("targets", nargs="*", metavar="TARGET", help="Targets to check; all known ones by default.")
        parser.add_argument("--json", action="store_true", help="Print JSON: with --watch, one line a round.")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=_seconds,
            const=5.0,
            metavar="SECONDS",
            help="Repeat every SECONDS (5) until Ctrl-C.",
        )
        parser.add_argument(
            "--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="The longest that one round may take (5)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        agent.stand_aside()
        try:
            status = self._rounds(options)
        except BrokenPipeError:
            # Whoever read has seen enough; what is still buffered must not fail when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = _HUNG_UP
        if status:
            raise SystemExit(status)

    def _rounds(self, options: dict[str, Any]) -> int:
        status = self._round(options)
        try:
            while options["watch"]:
                time.sleep(options["watch"])
                status = self._round(options)
        except KeyboardInterrupt:
            self.stdout.write("")
        return status

    def _round(self, options: dict[str, Any]) -> int:
        report = make_report(tuple(dict.fromkeys(options["targets"])), options["timeout"])
        if options["json"]:
            self.stdout.write(json.dumps(as_dict(report), indent=None if options["watch"] else 2))
        else:
            if options["watch"]:
                self.stdout.write((_CLEAR if self.stdout.isatty() else "") + time.strftime("%H:%M:%S"))
            self._print(report)
        # Into a pipe too, each round is written when it is made.
        self.stdout.flush()
        return EXIT[report.verdict.state]

    def _print(self, report: Report) -> None:
        if report.targets:
            rows = [_HEADS, *(_row(each, report.fleet) for each in report.targets)]
            widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
            self._print_row(rows[0], widths, "")
            for row, each in zip(rows[1:], report.targets, strict=True):
                self._print_row(row, widths, each.verdict.state)
            self.stdout.write("")
        for each in report.targets:
            for sentence in _sentences(each, report.fleet):
                self.stdout.write(f"{each.target}: {sentence}")
            if each.verdict.state != "ok":
                self._print_holders(each.target, report.fleet)
        for sentence in filter(None, (report.fleet.store_error, report.fleet.unread_error)):
            self.stdout.write(sentence)
        self.stdout.write(f"{self._coloured(report.verdict.state, report.verdict.state.upper())}: {_summary(report)}")

    def _print_holders(self, target: str, fleet: Fleet) -> None:
        for each in held(fleet, target)[:_HOLDERS]:
            where = f"{each.beat.role} {each.beat.host}:{each.beat.pid}"
            state = f", {each.holder.state}" if each.holder.state else ""
            self.stdout.write(f"{target}: held for {span(each.holder.seconds)} by {each.label} in {where}{state}.")

    def _print_row(self, row: tuple[str, ...], widths: list[int], state: str) -> None:
        # Names and states read from the left, figures from the right.
        target, kind, named = (cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False))
        cells = [target, kind, self._coloured(state, named)]
        cells += [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        self.stdout.write("  ".join(cells))

    def _coloured(self, state: str, text: str) -> str:
        return _COLOURS[state](text) if state and self.style.SUCCESS("x") != "x" and self.stdout.isatty() else text


def _row(report: TargetReport, fleet: Fleet) -> tuple[str, ...]:
    view, check = report.view, report.check
    figures: tuple[object, ...] = (0 if fleet.store else _DASH, *(_DASH,) * 5)
    if view:
        figures = (
            view.processes,
            view.used,
            view.idle,
            view.pending,
            view.capacity,
            told_time(view.wait.quantile(0.95)),
        )
    server = _DASH
    if check.server_used is not None:
        # As its sentence has it: what the server keeps for others is no room.
        room = _DASH if check.server_max is None else check.server_max - (check.server_reserved or 0)
        server = f"{check.server_used}/{room}"
    if told := [f"{check.ours} ours"] * (check.ours is not None) + ["behind a pooler"] * check.behind_pooler:
        server += f" ({', '.join(told)})"
    named = (report.target, report.kind or _DASH, report.verdict.state)
    return tuple(map(str, (*named, *figures, told_time(check.connect_time), server)))


def told_time(seconds: float | None) -> str:
    """Three digits or more, in the largest unit of which it has one."""
    if seconds is None:
        return _DASH
    size, unit = next((each for each in _UNITS if seconds >= 0.9995 * each[0]), _UNITS[-1])
    figure = seconds / size
    return f"{figure:.3g} {unit}" if figure < 999.5 else f"{figure:.0f} {unit}"


def _sentences(report: TargetReport, fleet: Fleet) -> tuple[str, ...]:
    nobody = NOBODY if fleet.store else UNREAD
    seen = report.view.of_pools.sentence if report.view else nobody
    return (report.check.message, seen) if report.check.state != "unknown" else (report.check.message,)


def _summary(report: Report) -> str:
    if not report.targets:
        return "The settings name no target; there is nothing to check."
    if report.verdict.state != "ok":
        return report.verdict.sentence
    pools = sum(each.view.processes for each in report.targets if each.view)
    return f"{len(report.targets)} of {len(report.targets)} targets are well, with {pools} pools in use."


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return value
