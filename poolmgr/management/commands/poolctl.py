"""``manage.py poolctl``: what the dashboard shows and does, in a terminal, when no browser is at hand."""

from __future__ import annotations

import json
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from contextlib import suppress
from getpass import getuser
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from poolmgr.conf import ROLES
from poolmgr.control import agent
from poolmgr.control.access import control_database, sentence_of
from poolmgr.control.commanding.commands import Denied
from poolmgr.control.editing.consequences import Foreseen
from poolmgr.control.inquiry import What
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.documents import holders, orders, targets, uses
from poolmgr.control.reporting.documents.holders import Held
from poolmgr.control.reporting.fleet import Fleet, read_fleet
from poolmgr.control.reporting.looks import looks
from poolmgr.control.store import StoreDown
from poolmgr.exceptions import ConfigurationError, InvalidSpec
from poolmgr.management.terminal import acting, past, showing
from poolmgr.management.terminal.english import EnglishCommand
from poolmgr.management.terminal.uses import use_lines
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.tiers import RANGES
from poolmgr.models import Command as Order

#: From the top of a terminal, which is cleared below.
_HOME = "\x1b[H\x1b[J"


class Command(EnglishCommand):
    help = (
        "The pools of the whole fleet: status, top, holders, uses, why, stack, events, history; pause, resume, recycle, "
        "cancel, end, set. What is ordered stands in the log of events, with the author."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        _reading(verbs, "status", "every target with its verdict and its figures, the worst first")
        _reading(verbs, "holders", "who holds connections, the oldest first")
        _reading(verbs, "uses", "for whom connections were used in the last ten minutes, and what for")
        top = _reading(verbs, "top", "both, again and again until Ctrl-C")
        top.add_argument("--every", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (2)")
        events = verbs.add_parser("events", help="what happened, the newest first")
        events.add_argument("--limit", type=int, default=20, metavar="N", help="how many (20)")
        history = _reading(verbs, "history", "what was used, waited and failed, and how long waits and uses took")
        history.add_argument("--range", default="1h", choices=RANGES, help="until now (1h)")
        history.add_argument("--role", default="", choices=["", *ROLES], help="of this role only")
        why = verbs.add_parser("why", help="what is wrong with a target, where to look and what to do")
        why.add_argument("target", metavar="TARGET")
        for verb, does in (
            ("stack", "what a holder does now, call by call"),
            (What.CANCEL.value, "cancel the statement that a holder runs"),
            (What.END.value, "end a holder's session, which gets an error"),
        ):
            of_holder = verbs.add_parser(verb, help=does)
            of_holder.add_argument("target", metavar="TARGET")
            of_holder.add_argument("name", metavar="NAME", help="as holders has it")
            if verb != "stack":
                _authored(of_holder)
        for verb in (Order.Kind.PAUSE, Order.Kind.RESUME, Order.Kind.RECYCLE):
            order = verbs.add_parser(verb.value, help=f"{verb.label} a target, in all processes or in one")
            order.add_argument("target", metavar="TARGET")
            order.add_argument("--process", default="", metavar="PROCESS", help="its uid, or host:pid")
            _authored(order)
        edit = verbs.add_parser("set", help="change settings of a target's profile, live")
        edit.add_argument("target", metavar="TARGET")
        edit.add_argument("values", nargs="+", type=_pair, metavar="NAME=VALUE", help="such as max_size=12")
        edit.add_argument("--role", default="", choices=["", *ROLES], help="the profile of this role (of any)")
        edit.add_argument("--reason", default="", help="is kept with the revision")
        edit.add_argument("--yes", action="store_true", help="save it whatever it leads to, which is told")
        _authored(edit)
        for verb, parser in verbs.choices.items():
            if verb != "top":
                parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        agent.stand_aside()
        try:
            with control_database():
                self._do(options)
        except acting.Unconfirmed as error:
            raise CommandError(_unconfirmed(error.foreseen)) from None
        except (LookupError, Denied, InvalidSpec, ConfigurationError, StoreDown, Unreadable) as error:
            raise CommandError(_sentence(error)) from None
        except DatabaseError as error:
            raise CommandError(sentence_of(error)) from None

    def _do(self, options: dict[str, Any]) -> None:
        verb, target = options["verb"], options.get("target") or ""
        if verb == "events":
            limit = options["limit"]
            self._show(options, lambda: showing.events(limit), lambda: showing.event_lines(limit))
            return
        if verb == "top":
            self._top(target, options["every"])
            return
        if verb == "history":
            found = past.read(target, RANGES[options["range"]], options["role"])
            self._show(options, lambda: past.documents(found), lambda: past.lines(found))
            return
        fleet = _looked_at() if verb in ("status", "why") else read_fleet()
        if verb == "status":
            self._show(options, lambda: targets.status(fleet, target), lambda: showing.status_lines(fleet, target))
        elif verb == "holders":
            self._show(options, lambda: holders.holders(fleet, target), lambda: showing.holder_lines(fleet, target))
        elif verb == "uses":
            self._show(options, lambda: uses.uses(fleet, target), lambda: use_lines(fleet, target))
        elif verb == "why":
            self._show(options, lambda: showing.why(fleet, target), lambda: showing.why_lines(fleet, target))
        elif verb == "stack":
            self._stack(acting.checkout(fleet, target, options["name"]), options)
        elif verb in tuple(What):
            self._act(What(verb), acting.checkout(fleet, target, options["name"]), options)
        else:
            self._order(fleet, verb, target, options)

    def _stack(self, found: Held, options: dict[str, Any]) -> None:
        answer = acting.stack(found)
        if answer is None:
            raise CommandError("Its process has not answered in time: it is frozen, or too busy.")
        if answer.why or (holder := answer.holder) is None:
            raise CommandError(answer.why or "It is over: the connection went back to its pool, or was closed.")
        look = holders.Look(found.beat, found.beat.uid, found.target, answer, live=True)
        self._show(options, lambda: holders.checkout(look, True, True), lambda: [holder.who, *answer.stack])

    def _act(self, what: What, found: Held, options: dict[str, Any]) -> None:
        done, said = acting.act(what, found, options["author"])
        if not done:
            raise CommandError(f"Nothing is known to have been done: {said}")
        place = (found.target, found.holder.checkout, options["author"])
        self._show(options, lambda: orders.outcome(what, *place, done, said), lambda: [f"Done: it was {said}."])

    def _order(self, fleet: Fleet, verb: str, target: str, options: dict[str, Any]) -> None:
        author = options["author"]
        if verb == "set":
            said = (author, options["reason"], options["yes"])
            made = acting.edit(fleet, target, options["role"], dict(options["values"]), *said)
            told = [each.to_dict() for each in made.foreseen.consequences]
            self._show(
                options,
                lambda: orders.edit(made.profile, made.revision, told),
                lambda: showing.edit_lines(made),
            )
        else:
            sent = acting.order(fleet, verb, target, author, options["process"])
            self._show(options, lambda: orders.command(sent), lambda: [f"Ordered: {sent}."])

    def _top(self, target: str, every: float) -> None:
        with suppress(KeyboardInterrupt):
            while True:
                fleet = _looked_at()
                lines = [*showing.status_lines(fleet, target), "", *showing.holder_lines(fleet, target, 20)]
                self.stdout.write((_HOME if self.stdout.isatty() else "") + time.strftime("%H:%M:%S"))
                self._print(lines)
                self.stdout.flush()
                time.sleep(every)

    def _show(self, options: dict[str, Any], document: Callable[[], Any], lines: Callable[[], Iterable[str]]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(document(), indent=2))
        else:
            self._print(lines())

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _looked_at() -> Fleet:
    """With a look at the servers, as the dashboard has it: that tells who blocks whom."""
    beats = read_beats()
    return read_fleet(beats, looks.of(beats))


def _reading(verbs: Any, verb: str, does: str) -> CommandParser:
    parser: CommandParser = verbs.add_parser(verb, help=does)
    parser.add_argument("target", nargs="?", default="", metavar="TARGET", help="of this one only")
    return parser


def _authored(parser: CommandParser) -> None:
    parser.add_argument("--author", default=_account(), help="for the log of events (this account's name)")


def _account() -> str:
    try:
        return getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return ""


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.2 <= value <= 3600:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0.2 to 3600")
    return value


def _pair(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not name or not found:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as max_size=12")
    for kind in (int, float):
        with suppress(ValueError):
            return name, kind(value)
    return name, value


def _unconfirmed(foreseen: Foreseen) -> str:
    why = "since it can't be as it is" if foreseen.refused else "--yes saves it all the same"
    return "\n".join((f"Nothing was saved; {why}:", *showing.foreseen_lines(foreseen)))


def _sentence(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
