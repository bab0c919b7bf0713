"""What new sizes and a new budget lead to: pure rules, each of which says nothing, or what an author should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.conf import ROLES
from poolmgr.control.editing.consequences import CONFIRM, INFO, UNKNOWN, Consequence
from poolmgr.control.editing.outlook import Outlook, number
from poolmgr.control.sharing.share import FLOOR
from poolmgr.metrics.rules import unkept_budget
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.spec import PoolSpec


class _Most(NamedTuple):
    """What all pools may open together, and how that comes about."""

    total: int
    sum_said: str


def room(o: Outlook) -> Iterator[Consequence]:
    """Whether the server has room for what all processes may open together."""
    if o.kind.elsewhere:
        return
    then, before = _most(o, o.after), _most(o, o.before).total
    if then.total <= before or not o.concerned:
        return
    said = {"sum": then.sum_said, "room": number(o.room.left), "all": number(o.room.most)}
    if o.room.unknown:
        why = {**said, "why": o.room.unknown}
        yield Consequence("room", UNKNOWN, _("%(sum)s; whether the server has room is unknown: %(why)s") % why)
        return
    said |= {"reserved": number(o.room.reserved), "others": number(o.room.others)}
    figures = _("(%(all)s in all, %(reserved)s reserved, %(others)s used by others)") % said
    if then.total > o.room.left:
        sentence = _("%(sum)s are more than the %(room)s that the server leaves free %(figures)s.")
        missing = then.total - o.room.left
        yield Consequence("room", CONFIRM, sentence % {**said, "figures": figures}, measure=missing)
    else:
        sentence = _("%(sum)s at most, and the server leaves %(room)s free %(figures)s.")
        yield Consequence("room", INFO, sentence % {**said, "figures": figures})


def _most(o: Outlook, ruling: Mapping[str, PoolSpec]) -> _Most:
    counts = {role: len(o.of(role)) for role in ROLES}
    if not any(counts[role] for role in o.concerned) and o.concerned:
        counts[o.concerned[0]] = 1  # the first that starts
    sizes: dict[tuple[int, int], list[str]] = {}
    for role in ROLES:
        if counts[role]:
            sizes.setdefault((ruling[role].max_size, ruling[role].budget), []).append(role)
    terms, free, bound, bounded = [], 0, 0, 0
    for (size, budget), roles in sizes.items():
        processes = sum(counts[role] for role in roles)
        terms.append(_term(processes, roles if len(sizes) > 1 else [], size))
        if budget:
            bound, bounded = bound + processes * size, bounded + processes
        else:
            free += processes * size
    budgets = [ruling[role].budget for role in ROLES if counts[role] and ruling[role].budget]
    if budgets and (most := max(min(budgets), FLOOR * bounded)) < bound:
        said = _("The %(n)s connections of the budget") % {"n": number(most)}
        return _Most(most + free, said if not free else f"{said} + {number(free)}")
    total = free + bound
    connections = ngettext("%(n)s connection", "%(n)s connections", total) % {"n": number(total)}
    return _Most(total, f"{' + '.join(terms)} = {connections}")


def _term(processes: int, roles: list[str], size: int) -> str:
    """Such as “2 web processes × 500”."""  # noqa: RUF002
    said = {"n": number(processes), "roles": "/".join(roles), "size": number(size)}
    if roles:
        return ngettext("%(n)s %(roles)s process × %(size)s", "%(n)s %(roles)s processes × %(size)s", processes) % said  # noqa: RUF001
    return ngettext("%(n)s process × %(size)s", "%(n)s processes × %(size)s", processes) % said  # noqa: RUF001


def shrinking(o: Outlook) -> Iterator[Consequence]:
    """Who finds no room in a pool that is smaller than what is used and waited for now, role by role."""
    for role, before, after, members in o.changing("max_size"):
        new = after.max_size
        # A pool that does not follow yet what rules already is not shrunk by this edit.
        pools = [member.pool for member in members if new < _present(member.pool, before)]
        used = sum(pool.used for pool in pools)
        if not pools:
            continue
        if o.kind.elsewhere:
            yield from _elsewhere(role, used, new)
            continue
        said = {
            "role": role,
            "old": number(max(_present(pool, before) for pool in pools)),
            "new": number(new),
            "used": number(used),
            "pending": number(waiting := sum(pool.pending for pool in pools)),
            "wait": number(would := sum(max(0, pool.used + pool.pending - new) for pool in pools)),
            "closed": number(sum(min(pool.idle, max(0, pool.used + pool.idle - new)) for pool in pools)),
            "places": _places(len(pools)),
        }
        if would > waiting:
            sentence = _(
                "%(role)s shrinks from %(old)s to %(new)s in %(places)s: %(used)s are in use and %(pending)s wait; at this "
                "demand %(wait)s would wait."
            )
            yield Consequence("shrinking", CONFIRM, sentence % said, role, would)
        else:
            sentence = _(
                "%(role)s shrinks from %(old)s to %(new)s in %(places)s: %(used)s are in use, nobody more would wait; "
                "%(closed)s idle connections are closed."
            )
            yield Consequence("shrinking", INFO, sentence % said, role)


def _present(pool: PoolSnapshot, ruling: PoolSpec) -> int:
    return min(pool.max_size or ruling.max_size, ruling.max_size)


def _elsewhere(role: str, used: int, new: int) -> Iterator[Consequence]:
    if used > new:
        said = _(
            "%(used)s connections are in use; whether max_size %(new)s is enough is unknown, since the server has a pool for "
            "each database and user."
        )
        yield Consequence("shrinking", UNKNOWN, said % {"used": number(used), "new": number(new)}, role)


def _places(processes: int) -> str:
    return ngettext("%(n)s process", "%(n)s processes", processes) % {"n": number(processes)}


def growing(o: Outlook) -> Iterator[Consequence]:
    """Who waits now and gets a connection; what is opened at once."""
    if o.kind.elsewhere:
        return
    for role, before, after, members in o.changing("max_size", "min_size"):
        pools = [member.pool for member in members]
        waiting = sum(pool.pending for pool in pools if after.max_size > _present(pool, before))
        served = sum(min(pool.pending, max(0, after.max_size - max(pool.max_size, pool.used))) for pool in pools)
        if waiting:
            sentence = _("%(role)s: of the %(waiting)s that wait now, %(served)s get a connection at once.")
            said = {"role": role, "waiting": number(waiting), "served": number(served)}
            yield Consequence("growing", INFO, sentence % said, role)
        opened = sum(max(0, after.min_size - max(pool.size, pool.min_size)) for pool in pools)
        if opened:
            said = {"role": role, "n": number(opened), "min": number(after.min_size)}
            sentence = ngettext(
                "%(role)s opens %(n)s connection at once: min_size is %(min)s.",
                "%(role)s opens %(n)s connections at once: min_size is %(min)s.",
                opened,
            )
            yield Consequence("warming", INFO, sentence % said, role)


def budget(o: Outlook) -> Iterator[Consequence]:
    """Whether a new budget can be kept, and whether it is enough for what is used and waited for now."""
    if o.kind.elsewhere:
        return
    new = _budget(o, o.after)
    old = _budget(o, o.before)
    bound = [member.pool for member in o.members if o.after[member.role].budget]
    if not new or (old and new >= old):
        return
    if unkept := unkept_budget(new, len(bound), FLOOR):
        sentence = _("%(unkept)s; raise it or run fewer.") % {"unkept": unkept}
        yield Consequence("unkept_budget", CONFIRM, sentence, measure=len(bound) * FLOOR - new)
        return
    used, waiting = sum(pool.used for pool in bound), sum(pool.pending for pool in bound)
    would = max(0, used + waiting - new)
    said = {"budget": number(new), "used": number(used), "pending": number(waiting), "wait": number(would)}
    said["held"] = number(sum(pool.size for pool in bound))
    if would > waiting:
        sentence = _(
            "The budget lets the fleet have %(budget)s connections: %(used)s are in use and %(pending)s wait; at this demand "
            "%(wait)s would wait."
        )
        yield Consequence("short_budget", CONFIRM, sentence % said, measure=would)
    elif bound:
        sentence = _("The budget lets the fleet have %(budget)s connections; it holds %(held)s now.")
        yield Consequence("short_budget", INFO, sentence % said)


def _budget(o: Outlook, ruling: Mapping[str, PoolSpec]) -> int:
    roles = {member.role for member in o.members} or set(ROLES)
    return min((ruling[role].budget for role in roles if ruling[role].budget), default=0)
