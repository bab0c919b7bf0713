"""One PgBouncer process: a thread that looks at its console each round, and has it do what was asked of the pool."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from threading import Event, Thread
from time import monotonic
from typing import Protocol

import psycopg

from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.history import STEP, WINDOW
from poolmgr.metrics.phrases import phrase
from poolmgr.targets.pgbouncer.console import PATIENCE, Console, carry_out, diagnose
from poolmgr.targets.pgbouncer.consoles import Place
from poolmgr.targets.pgbouncer.holds import Hold
from poolmgr.targets.pgbouncer.picture import Picture, Sums, look
from poolmgr.targets.pgbouncer.problems import problems
from poolmgr.targets.pgbouncer.words import same, statement

logger = logging.getLogger("poolmgr.pool")

#: Seconds that a PAUSE is waited for, whose answer comes with the end of the last transaction; it holds from the beginning.
_ANSWER = 0.5
#: Seconds between two lists of who holds what, where there are many clients.
_RARELY = 15.0


class Asks(Protocol):
    """Who asks things of an instance; wishes are numbered."""

    target: str
    databases: tuple[str, ...]
    own: Mapping[str, Mapping[str, str]]

    def wishes(self) -> tuple[int, Mapping[str, str]]:
        """The settings that it should have."""

    def holds(self) -> Mapping[str, Hold]:
        """Whether each database should be paused; None leaves it as it is."""

    def may_act(self) -> bool:
        """Whether this process leads still."""


class Instance:
    """What it found is read from any thread; its own writes."""

    def __init__(self, asks: Asks, place: Place, interval: float) -> None:
        self.address, self.url = place.address, place.url
        self._asks, self._interval = asks, interval
        self._console = Console(place.url, asks.target)
        self._stop, self._due = Event(), Event()
        self._listed = -inf
        self._began = monotonic()
        self._thread = Thread(target=self._run, name=f"poolmgr-pgbouncer-{place.address}", daemon=True)
        #: The last that was seen, None while the console does not answer; and why not.
        self.picture: Picture | None = None
        self.error = ""
        self.error_at = 0.0
        #: What was asked of it that it does not do, in sentences.
        self.problems: tuple[str, ...] = ()
        #: The number of the last wish for settings that was seen to be so, and of each database of that for a pause.
        self.followed = -1
        self.held: Mapping[str, int] = {}
        # What was set and did not come to be so, with what the console said.
        self._vain: dict[tuple[str, str], str] = {}
        self._past: deque[tuple[float, Sums]] = deque()
        self._confused = ""
        #: Of a database the number of a wish for a pause that was refused, and why; it is not asked again.
        self.refused: Mapping[str, tuple[int, str]] = {}

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """Something was asked: begin the next round now."""
        self._due.set()

    def stop(self) -> None:
        self._stop.set()
        self._due.set()

    def join(self, timeout: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def silence(self) -> str:
        """Why nothing is known of it now, or ""."""
        if self.error:
            return self.error
        seen = self.picture
        late = monotonic() - (seen.at if seen else self._began)
        # A thread that waits for a name to be resolved tells nothing.
        return "its console does not answer" if late > self._interval + 2 * PATIENCE else ""

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._due.clear()
                if self._asks.may_act():
                    self._round()
                self._due.wait(self._interval)
        finally:
            self._console.close()

    def _round(self) -> None:
        # What is asked while this round looks is for the next one, which looks again.
        holds = self._asks.holds()
        try:
            with self._console.within():
                seen, followed, kept = self._follow(self._look())
            seen, held, refused = self._hold(seen, holds)
        except CheckoutError as error:
            self._fail(str(error))
        except Exception:  # a version that answers otherwise must not end the thread
            logger.exception(
                "pool %r: the console of PgBouncer at %s was not understood", self._asks.target, self.address
            )
            self._fail("the console's answer was not understood; see the log")
        else:
            if self.error:
                logger.info("pool %r: PgBouncer at %s answers again", self._asks.target, self.address)
            self._note(seen)
            # What was asked counts as done, or as refused, when all that is to be said of it can be read.
            told = dict.fromkeys((self._confused, *(why for _, why in refused.values())))
            self.problems = (
                *kept,
                *(
                    phrase("PgBouncer at %(address)s %(said)s", address=self.address, said=each)
                    for each in told
                    if each
                ),
            )
            self.picture, self.error = seen, ""
            self.followed, self.held, self.refused = followed, held, refused

    def _look(self) -> Picture:
        now = monotonic()
        lists = now - self._listed >= _RARELY
        seen = look(self._console, self._asks.databases, now, lists)
        if lists:
            self._listed = now
        last = self.picture
        return seen if seen.listed or last is None else replace(seen, holders=last.holders, pids=last.pids)

    def _fail(self, sentence: str) -> None:
        if sentence != self.error:
            logger.warning("pool %r: PgBouncer at %s: %s", self._asks.target, self.address, sentence)
        self.picture, self.error, self.error_at = None, sentence, monotonic()
        # It may be another one when it answers again, which counts anew.
        self._vain.clear()
        self.problems = ()
        self._past.clear()
        self.refused = {}

    def _follow(self, seen: Picture) -> tuple[Picture, int, list[str]]:
        """Set what differs, as a RELOAD or a restart makes it, and read it back: the wish's number, and what is not so."""
        number, wanted = self._asks.wishes()
        differing = {
            name: value
            for name, value in wanted.items()
            if not same(value, seen.config.get(name)) and (name, value) not in self._vain
        }
        if differing and self._asks.may_act():
            answers = {name: self._set(name, value) for name, value in differing.items()}
            before, seen = seen, self._look()
            for name, value in differing.items():
                if not same(value, seen.config.get(name)):
                    self._vain[name, value] = answers[name]
            told = ", ".join(f"{name} {before.config.get(name)} → {value}" for name, value in differing.items())
            logger.info("pool %r: PgBouncer at %s: set %s", self._asks.target, self.address, told)
        return seen, number, [*self._kept(seen, wanted), *problems(self.address, seen, wanted, self._asks.own)]

    def _set(self, name: str, value: str) -> str:
        """What the console says against it."""
        try:
            self._console.order(statement(name, value))
        except psycopg.errors.ProtocolViolation as error:
            return diagnose(error).sentence
        return ""

    def _kept(self, seen: Picture, wanted: Mapping[str, str]) -> list[str]:
        """What it has otherwise than it was told to; a SET may be answered and do nothing."""
        return [
            f"PgBouncer at {self.address} keeps {name} at {seen.config.get(name) or 'nothing'}, which was set to"
            f" {value or 'nothing'}" + (f": {said}" if (said := self._vain.get((name, value))) else "")
            for name, value in wanted.items()
            if not same(value, seen.config.get(name))
        ]

    def _hold(
        self, seen: Picture, holds: Mapping[str, Hold]
    ) -> tuple[Picture, Mapping[str, int], Mapping[str, tuple[int, str]]]:
        """Pause or resume where that was asked: of each database the wish that is so, and the one refused, and why."""
        refused = {name: (number, why) for name, (number, why) in self.refused.items() if holds[name].number == number}
        # A resume is given once: whoever pauses by the console later has a reason. A pause holds until its resume.
        asked = {name: hold for name, hold in holds.items() if hold.paused or self.held.get(name) != hold.number}
        differing = [name for name in _otherwise(seen, asked) if name not in refused]
        if differing and self._asks.may_act():
            for name, why in self._order(differing, holds).items():
                refused[name] = (holds[name].number, why)
            with self._console.within():
                seen = self._look()
        if not any(hold.paused for hold in holds.values()):
            self._confused = ""
        late = _otherwise(seen, asked)
        held = {name: hold.number for name, hold in holds.items() if name not in late}
        return seen, {**self.held, **held}, refused

    def _order(self, databases: list[str], holds: Mapping[str, Hold]) -> dict[str, str]:
        """Of what was refused, why. After the first refusal the rest is not tried: it is the same for all."""
        for n, name in enumerate(databases):
            command = "PAUSE" if holds[name].paused else "RESUME"
            try:
                tag = carry_out(self.url, self._asks.target, command, name, _ANSWER)
            except CheckoutError as error:
                why = phrase("did not %(command)s: %(error)s", command=command, error=str(error))
                return dict.fromkeys(databases[n:], why)
            if tag and tag != command:
                self._confused = _confused(tag)
        return {}

    def recent(self) -> Sums:
        """What came in about the last minute."""
        seen, past = self.picture, list(self._past)
        return seen.sums.since(past[0][1]) if seen and past else Sums()

    def _note(self, seen: Picture) -> None:
        if not self._past or seen.at - self._past[-1][0] >= STEP:
            self._past.append((seen.at, seen.sums))
        while len(self._past) > 1 and seen.at - self._past[1][0] >= WINDOW:
            self._past.popleft()


def _otherwise(seen: Picture, holds: Mapping[str, Hold]) -> list[str]:
    """Those of which something was asked that is not so."""
    wanted = {name: hold.paused for name, hold in holds.items() if hold.paused is not None}
    return [
        each.name for each in seen.databases if each.there and each.paused is not wanted.get(each.name, each.paused)
    ]


def _confused(tag: str) -> str:
    return phrase(
        "answers %(tag)s to a PAUSE, as it does for ever after somebody's WAIT_CLOSE: new transactions wait, but whether the"
        " last one has ended it can't tell until it is restarted",
        tag=tag,
    )
