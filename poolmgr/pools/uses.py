"""What a pool's connections were used for: held, and for how much of that the server was needed, by label.

A return notes one tuple; what is noted is counted once a second, as times are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import compress
from math import inf
from operator import add
from threading import RLock
from time import monotonic

from poolmgr.metrics.histogram import BOUNDS
from poolmgr.metrics.uses import LONGEST, NOBODY, OTHERS, TOLD, Spent, Use, flat, summed
from poolmgr.pools.entry import Entry
from poolmgr.pools.labels import Label

#: Labels that are counted one by one; all others are one.
MOST = 100
#: Seconds of each stretch that is counted by itself, and how many that are over make what is recent, with the present one.
_STRETCH, _RECENT = 120.0, 5
#: Seconds from which what a checkout under way has spent is counted without waiting for its end.
_LONG = 1.0

_BOUNDS = (*BOUNDS, inf)
_Key = tuple[str, str]
_UNNAMED: _Key = (NOBODY, "")
_OTHERS: _Key = (OTHERS, "")
#: For whom; seconds held, at the server, kept; what of these was noted before (None: nothing); whether the checkout is over.
Note = tuple[Label | None, float, float, float, tuple[float, float, float] | None, bool]


class _Tally:
    __slots__ = ("count", "held", "kept", "lengths", "sql")

    def __init__(self) -> None:
        self.count, self.held, self.sql, self.kept = 0, 0.0, 0.0, 0.0
        self.lengths = [0] * (len(BOUNDS) + 1)

    def take(self, other: _Tally) -> None:
        self.count += other.count
        self.held += other.held
        self.sql += other.sql
        self.kept += other.kept
        self.lengths = [*map(add, self.lengths, other.lengths)]

    def note(self, notes: Iterable[Note]) -> None:
        _, held, sql, kept, before, over = zip(*notes, strict=True)
        counted = [*filter(None, before)]
        self.held += sum(held) - sum(each[0] for each in counted)
        self.sql += sum(sql) - sum(each[1] for each in counted)
        self.kept += sum(kept) - sum(each[2] for each in counted)
        lengths = sorted(compress(held, over))
        self.count += len(lengths)
        below = 0
        for index, bound in enumerate(_BOUNDS):
            upto = bisect_right(lengths, bound, below)
            self.lengths[index] += upto - below
            below = upto

    def add(self, spent: Spent, sign: int) -> None:
        self.count += sign * spent.count
        self.held += sign * spent.held
        self.sql += sign * spent.sql
        self.kept += sign * spent.kept

    def spent(self) -> Spent:
        return Spent(self.count, max(0.0, self.held), max(0.0, self.sql), max(0.0, self.kept)).rounded()


_Tallies = dict[_Key, _Tally]
_NOTHING = _Tally()


class Uses:
    """``add(note)``, ``part()`` and ``end()`` are called with the pool's lock held, the rest without.

    ``splits`` says whether the pool knows of its checkouts what they were at.
    """

    def __init__(self, splits: bool = False) -> None:
        self._splits = splits
        self._noted: list[Note] = []
        self.add = self._noted.append
        # Not the pool's, so that no checkout waits for the counting; re-entrant for signal handlers, which may ask.
        self._lock = RLock()
        self._stretches: deque[_Tallies] = deque([{}])
        self._lately: _Tallies = {}  # those of these that are over
        self._before: _Tallies = {}  # all that are over since the start
        self._turns = monotonic() + _STRETCH

    def part(self, entry: Entry, now: float) -> None:
        """Note what a checkout under way has spent so far."""
        so_far = entry.spent(now)
        self.add((entry.label, *so_far, entry.noted, False))
        entry.noted = so_far

    def parts(self, entries: Iterable[Entry], now: float, longer: float = _LONG) -> None:
        """The same of those that last for ``longer`` than that."""
        for entry in entries:
            if entry.owner is not None and now - entry.since > longer:
                self.part(entry, now)

    def end(self, entry: Entry, now: float) -> None:
        """Note that a checkout is over."""
        self.add((entry.label, *entry.spent(now), entry.noted, True))
        entry.noted = None

    def count(self, now: float) -> None:
        """Count what was noted. Called once a second, since until then each note costs its memory."""
        with self._lock:
            taken = len(self._noted)
            notes = self._noted[:taken]
            del self._noted[:taken]
            while now >= self._turns:
                self._turn()
            by_key: defaultdict[_Key, list[Note]] = defaultdict(list)
            for note in notes:
                by_key[_UNNAMED if (label := note[0]) is None else label.key].append(note)
            for key, some in by_key.items():
                _of(self._stretches[-1], key).note(some)

    def absorb(self, uses: Iterable[Use]) -> None:
        """Add what another pool told, which is no more. What it had as recent is so from now on."""
        with self._lock:
            for use in uses:
                key = use.kind, use.name
                lately, before = _of(self._stretches[-1], key), _of(self._before, key)
                lately.add(use.recent, 1)
                before.add(use.all, 1)
                before.add(use.recent, -1)
                lately.lengths = [*map(add, lately.lengths, use.times.counts)]

    def told(self, now: float) -> tuple[Use, ...]:
        """Of the labels that held the most lately, and of all others as one."""
        with self._lock:
            self.count(now)
            recent = _merged([self._lately, self._stretches[-1]])
            whole = _merged([self._before, self._stretches[-1]])
        ordered = sorted({**whole, **recent}, key=lambda key: (-_held(recent, key), -_held(whole, key)))
        rest = [key for key in ordered if key != _OTHERS][TOLD:]
        for tallies in (recent, whole):
            for key in rest:
                if key in tallies:
                    _take(tallies, {_OTHERS: tallies.pop(key)})
        # Recent ones may have had to make room in the whole.
        keys = {**whole, **recent}
        return summed((self._use(key, recent.get(key, _NOTHING), whole.get(key, _NOTHING)) for key in keys), TOLD)

    def _use(self, key: _Key, recent: _Tally, whole: _Tally) -> Use:
        kind, name = key
        lengths = flat(enumerate(recent.lengths))
        return Use(kind, name[:LONGEST], self._splits, recent.spent(), whole.spent(), lengths)

    def _turn(self) -> None:
        """Begin another stretch."""
        _take(self._before, self._stretches[-1])
        _make_room(self._before)
        if len(self._stretches) > _RECENT:
            self._stretches.popleft()
        self._lately = _merged(self._stretches)
        self._stretches.append({})
        self._turns += _STRETCH


def _of(tallies: _Tallies, key: _Key) -> _Tally:
    if (found := tallies.get(key)) is None:
        # One place is kept for all others.
        key = key if len(tallies) < MOST - 1 else _OTHERS
        found = tallies.setdefault(key, _Tally())
    return found


def _held(tallies: _Tallies, key: _Key) -> float:
    return tallies[key].held if key in tallies else 0.0


def _take(into: _Tallies, tallies: _Tallies) -> None:
    for key, tally in tallies.items():
        into.setdefault(key, _Tally()).take(tally)


def _make_room(tallies: _Tallies) -> None:
    """The labels that held the least become one with all others."""
    ordered = sorted(tallies, key=lambda key: -tallies[key].held)
    for key in ordered[MOST - 1 :]:
        if key != _OTHERS:
            tallies.setdefault(_OTHERS, _Tally()).take(tallies.pop(key))


def _merged(parts: Iterable[_Tallies]) -> _Tallies:
    made: _Tallies = {}
    for tallies in parts:
        _take(made, tallies)
    return made
