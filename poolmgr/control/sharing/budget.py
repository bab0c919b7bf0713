"""This process's part in the budgets: what it tells the ledger, and what it lets its pools do meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from poolmgr.control.sharing.ledger import Answer
from poolmgr.control.sharing.share import FLOOR, Claim
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.port import Load, Pool

#: Seconds over which demand is looked back at: room that is idle for longer is anybody's.
WINDOW = 0.5
#: Of the length of a lease: when it is renewed, when the pool stops to serve by it, and when nothing may be left of it.
RENEWED, LAPSED, OVER = 0.25, 0.7, 0.9
#: Seconds between two claims of a process whose requests wait, where nobody calls it, and between looks at whether
#: somebody lacks room. In a large fleet they grow with it, by seconds for each process: they all stand at one lock.
_HUNGRY, _LOOK, _EACH = 0.25, 0.4, 0.02
#: A claim that is told to make room is followed by another that says what has become free; so often at most.
_STEPS = 3


class Pools(Protocol):
    """The pools of this process, as the registry has them."""

    def holders(self) -> Iterable[Pool]: ...

    def set_limits(self, limits: Mapping[str, Allowance]) -> None: ...


class Ledger(Protocol):
    def claim(self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: frozenset[str]) -> Answer: ...

    def renew(self, uid: str, serial: int) -> bool: ...

    def lacking(self) -> dict[str, int]: ...


@dataclass
class _Known:
    """What this process knows of one target."""

    limit: int
    asked: Claim | None = None
    demand: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, load: Load) -> int:
        """The most that was used and waited for lately."""
        self.demand.append((now, load.used + load.pending))
        while self.demand[0][0] < now - WINDOW:
            self.demand.popleft()
        return max(number for _, number in self.demand)


class Budget:
    """Keeps each pool's limit at what the ledger grants. Used by the agent's thread.

    ``length`` is that of a lease in seconds. ``call`` wakes other processes, and returns whether it could: where it
    can't they look for themselves.
    """

    def __init__(
        self,
        uid: str,
        ledger: Ledger,
        length: float,
        call: Callable[[frozenset[str]], bool],
        pools: Pools = registry,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._uid, self._ledger, self._length, self._call = uid, ledger, length, call
        self._pools, self._clock = pools, clock
        self._pushes = False
        self._known: dict[str, _Known] = {}
        self._serial = 0
        self._told: frozenset[str] = frozenset()  # the targets that the ledger knows of
        self._fleet = 1
        self._over = self._renewed_at = self._claimed_at = self._looked_at = -length
        self._called = False

    @property
    def limits(self) -> dict[str, int]:
        return {target: known.limit for target, known in self._known.items()}

    # -- when ---------------------------------------------------------------------------------------------------------

    def called(self) -> None:
        """Somebody lacks room that this process could make, or left room that it could take."""
        self._called = True

    @property
    def watches(self) -> bool:
        """Whether there is any budget to mind, so that ``due()`` should be asked often."""
        return bool(self._known) or any(pool.spec.budget for pool in self._pools.holders())

    def due(self) -> bool:
        """Note the demand; True when there is something to tell or to ask for."""
        now = self._clock()
        pools = self._budgeted()
        if not pools:
            return bool(self._known)
        reasons = [self._has_reason(pool, now) for pool in pools]  # each of them notes its demand
        return self._called or any(reasons) or now - self._renewed_at >= RENEWED * self._length

    def _has_reason(self, pool: Pool, now: float) -> bool:
        known, load = self._known.get(pool.target), pool.load()
        if known is None or known.asked is None:
            return True
        want = known.note(now, load)
        asked, most = known.asked, pool.spec.max_size
        if asked.budget != pool.spec.budget:
            return True
        if max(load.held, known.limit) < max(asked.held, asked.limit):
            return True  # what has come free since
        if asked.want >= known.limit > want:
            # The ledger takes it for one who has no more than it wants, whom nobody would call.
            return now - self._claimed_at >= self._pause(_HUNGRY)
        if load.pending and known.limit < most and min(most, want) > known.limit:
            # Known to the ledger already: whoever makes room calls, and where nobody can, it asks again.
            pause = self._pause(_HUNGRY) if asked.want < min(most, want) or not self._pushes else 4 * _HUNGRY
            return now - self._claimed_at >= pause
        return False

    def look(self) -> None:
        """Where nobody can call: see whether somebody lacks room that this process could make."""
        now = self._clock()
        if self._pushes or now - self._looked_at < self._pause(_LOOK):
            return
        self._looked_at = now
        if self._ledger.lacking().keys() & {target for target, known in self._known.items() if known.limit}:
            self._called = True

    @property
    def looks(self) -> bool:
        return (
            not self._pushes
            and self._clock() - self._looked_at >= self._pause(_LOOK)
            and any(known.limit for known in self._known.values())
        )

    def _pause(self, least: float) -> float:
        return max(least, _EACH * self._fleet)

    # -- what ---------------------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Claim for every pool that has a budget.

        Raises ``django.db.Error``, and ``LineFull`` where it is not its turn; then the last lease stands while it lasts.
        """
        called, self._called = self._called, False
        try:
            for _ in range(_STEPS):
                if self._claim_once(may_renew=not called):
                    return
                called = True
        except BaseException:
            self._called |= called  # who called waits still
            raise

    def _claim_once(self, may_renew: bool) -> bool:
        """True when nothing more is to be said at once."""
        sent = self._clock()
        if sent >= self._over:
            self._lose()
        self._forget(sent)
        pools = self._budgeted()
        adopting = self._begin(pools, sent)
        claims = {pool.target: self._claim_of(pool, sent) for pool in pools}
        if may_renew and self._has_no_news(claims) and self._ledger.renew(self._uid, self._serial):
            self._last_from(sent)
            return True
        answer = self._ledger.claim(self._uid, self._serial, claims, adopting)
        self._serial, self._fleet, self._told = answer.serial, answer.fleet, frozenset(claims)
        for target, limit in answer.limits.items():
            self._known[target].limit, self._known[target].asked = limit, claims[target]
        self._last_from(sent)
        self._pushes = self._call(answer.called)
        # What has come free by this is told at once; the rest when it comes back.
        return all(
            pool.load().held >= claims[pool.target].held and claims[pool.target].limit <= self._known[pool.target].limit
            for pool in pools
        )

    def _has_no_news(self, claims: Mapping[str, Claim]) -> bool:
        """Whether only time has passed: then the lease need but last longer, which is cheap however large the fleet is."""
        before = {target: self._known[target].asked for target in claims}
        return (
            bool(self._serial)
            and claims.keys() == self._told
            # Who lacks room asks for it again.
            and all(max(claim.held, claim.want) <= claim.limit for claim in claims.values())
            and all(
                # What it held beyond its limit when it claimed last is counted until it says that it has gone.
                asked and asked[1:] == claims[target][1:] and asked.held <= max(claims[target].held, asked.limit)
                for target, asked in before.items()
            )
        )

    def _last_from(self, sent: float) -> None:
        self._claimed_at = self._renewed_at = sent
        self._over = sent + OVER * self._length
        self._allow(sent)

    def _lose(self) -> None:
        """The lease is over: others may have all of its room."""
        self._serial = 0
        for known in self._known.values():
            known.limit = 0
        # With its end, so that what is in use is broken off, even if the next claim is granted at once.
        self._pools.set_limits(dict.fromkeys(self._known, Allowance(0, self._over, self._over)))

    def _forget(self, now: float) -> None:
        """Give up what has no pool with a budget any more, before the ledger hears of it: another pool may open now."""
        present = {pool.target for pool in self._budgeted()}
        if not self._known.keys() <= present:
            self._known = {target: known for target, known in self._known.items() if target in present}
            self._allow(now)

    def _begin(self, pools: tuple[Pool, ...], now: float) -> frozenset[str]:
        """Stop what is not allowed yet from growing; the targets whose pools have run without a limit so far."""
        adopting = frozenset(pool.target for pool in pools if pool.target not in self._known and not pool.is_limited)
        for pool in pools:
            if pool.target not in self._known:
                self._known[pool.target] = _Known(pool.load().held if pool.target in adopting else 0)
        if adopting:
            self._allow(now)
        return adopting

    def _claim_of(self, pool: Pool, now: float) -> Claim:
        known, spec, load = self._known[pool.target], pool.spec, pool.load()
        want = min(spec.max_size, known.note(now, load))
        warm = max(want, min(spec.min_size, spec.max_size))
        # What it has no use for it gives up without being told, and first: then nobody waits for it to say so.
        spare = max(load.held, warm)
        if spare < known.limit:
            known.limit = spare
            self._allow_one(pool, self._renewed_at)
            load = pool.load()
        return Claim(load.held, known.limit, want, warm, spec.budget)

    def _allow(self, since: float) -> None:
        self._pools.set_limits({target: self._allowance(known, since) for target, known in self._known.items()})

    def _allow_one(self, pool: Pool, since: float) -> None:
        pool.limit(self._allowance(self._known[pool.target], since))

    def _allowance(self, known: _Known, since: float) -> Allowance:
        return Allowance(known.limit, since + LAPSED * self._length, since + OVER * self._length)

    def failed(self, why: Diagnosis) -> None:
        """The ledger can't be reached. Once the lease has lapsed, whoever waits is told."""
        if self._clock() >= self._renewed_at + LAPSED * self._length:
            over = Allowance(0, self._clock(), self._over, why)
            self._pools.set_limits(dict.fromkeys((pool.target for pool in self._budgeted()), over))

    # -- the end ------------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Serve nobody any more, and close what is idle; what is in use has until the lease is over."""
        now = self._clock()
        # Without one, it is what ran before there was a budget.
        over = self._over if self._serial else now + OVER * self._length
        self._pools.set_limits(dict.fromkeys(self._known, Allowance(0, now, over)))

    @property
    def holds_anything(self) -> bool:
        return any(pool.load().held for pool in self._budgeted())

    def give_back(self) -> None:
        """Leave the ledger what is held still. Raises ``django.db.Error``."""
        held = {pool.target: pool.load().held for pool in self._budgeted()}
        claims = {target: Claim(number, 0, 0, 0, self._budget_of(target)) for target, number in held.items() if number}
        self._ledger.claim(self._uid, 0, claims, frozenset())

    def _budgeted(self) -> tuple[Pool, ...]:
        return tuple(pool for pool in self._pools.holders() if pool.spec.budget)

    def _budget_of(self, target: str) -> int:
        known = self._known.get(target)
        return known.asked.budget if known and known.asked else FLOOR
