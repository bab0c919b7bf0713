"""A target as the dashboard shows it: figures put into words, so that the templates only print."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.pinned import reason_said
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.drawing.bars import Bar, Segment, bars, legend
from poolmgr.dashboard.lines.blocking import Blocking, blocking
from poolmgr.dashboard.lines.holderlines import HolderLine, holder_lines
from poolmgr.dashboard.lines.rows import standings
from poolmgr.dashboard.lines.server import ServerLine, server_line
from poolmgr.dashboard.lines.wanted import Source, Wanted
from poolmgr.dashboard.pages.listing import Listed, Listing, listing
from poolmgr.dashboard.words.present import DASH, Figure, ago, duration, number, timed
from poolmgr.dashboard.words.verdicts import Said
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.snapshot import Part, PoolSnapshot
from poolmgr.models import Command
from poolmgr.pools.kinds import Kind
from poolmgr.targets.known import kind_named


@dataclass(frozen=True, slots=True)
class Tile:
    """One big number. ``state`` colours it when it asks for attention."""

    label: str
    value: str
    of: str = ""
    title: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """The quantiles of one kind of time."""

    label: str
    p50: Figure
    p95: Figure
    p99: Figure
    count: str


@dataclass(frozen=True, slots=True)
class Card:
    """One target with everything the page says of it.

    ``gone`` is one that only a profile names: nobody can act on it. Without ``known`` nobody can tell which settings
    it should have, and what the last check of its server found. ``silent``
    says that its sums hold what a silent process reported last. ``denied`` are the commands that its kind makes no sense of,
    each with the sentence that says why; ``cuts`` are those that cut clients off, with their labels. ``parts`` are chips on
    databases of it that are not as the whole is, and ``resumable`` says that any of it is paused.
    """

    target: str
    gone: bool
    kind: str
    unit: str
    address: str
    state: str
    sentence: str
    advice: str  # the page that says what to do about it, "" where there is none
    paused: str
    all_paused: bool
    resumable: bool
    parts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    bars: tuple[Bar, ...]
    legend: tuple[Segment, ...]
    times: tuple[Times, ...]
    means: tuple[tuple[str, Figure], ...]
    oldest: Figure
    holders: tuple[HolderLine, ...]
    more_holders: str
    blocking: Blocking | None
    pins: tuple[tuple[str, str], ...]
    server: ServerLine
    modes: str
    denied: dict[str, str]
    cuts: tuple[tuple[str, str], ...]
    killed: str
    sources: tuple[Source, ...]
    known: bool
    silent: bool
    applied: str
    drift: bool
    errors: tuple[str, ...]
    processes: int
    listing: Listing


#: Holders on the page, and those that it lists when it is asked for all.
_HOLDERS, _ALL_HOLDERS = 12, 500


def card(view: TargetView, said: Said, fleet: Fleet, wanted: Wanted, statements: bool, listed: Listed) -> Card:
    """Without ``statements`` those are left out; ``listed`` is which of its processes are shown, and how."""
    stand = standings(view.target, fleet)
    on_current, applied_of = view.applied
    pools = [pool for beat in fleet.processes for pool in beat.pools if pool.target == view.target]
    stopped = sum(pool.status == "paused" for pool in pools)
    parts = [part for pool in pools for part in pool.parts]
    kind = kind_named(view.kind)
    return Card(
        target=view.target,
        gone=said.gone,
        kind=spoken(kind.label) if kind.name == view.kind else view.kind,  # of another version
        unit=spoken(kind.unit),
        address=view.address,
        state=said.state,
        sentence=said.sentence,
        advice=said.advice,
        paused=_paused(stopped, len(pools)),
        all_paused=0 < len(pools) == stopped,
        resumable=stopped > 0 or any(part.paused for part in parts),
        parts=_parts(parts, stopped > 0),
        tiles=_tiles(view, kind, fleet.at),
        bars=(shown := bars(view.roles)),
        legend=legend(shown),
        times=() if kind.elsewhere else (_times(_("Wait time"), view.wait), _times(_("Use time"), view.use)),
        means=_means(view) if kind.elsewhere else (),
        oldest=timed(view.oldest_checkout) if view.used else Figure(DASH, _("nothing is checked out")),
        holders=holder_lines((view,), fleet, statements, _ALL_HOLDERS if listed.all_holders else _HOLDERS),
        more_holders=listed.query(holders="all") if view.used > _HOLDERS and not listed.all_holders else "",
        blocking=blocking(view, fleet, spoken(kind.end), statements),
        pins=tuple(
            (reason_said(reason), number(count)) for reason, count in sorted(view.pins.items(), key=lambda pin: -pin[1])
        ),
        server=server_line(view, wanted.known),
        modes=", ".join(sorted({pool.pool_mode for pool in pools})) if "pool_mode" in kind.honours else "",
        denied={what: spoken(why) for what, why in kind.denies.items()},
        cuts=tuple(
            (each.value, str(capfirst(each.label)))
            for each in Command.Kind
            if each in Command.CUTS and each in kind.commands
        ),
        killed=_killed(view.target, parts, wanted),
        sources=wanted.profiles(view.target) if said.gone else wanted.sources(view.target),
        known=wanted.known,
        silent=said.silent > 0,
        applied=_("%(n)s of %(all)s") % {"n": number(on_current), "all": number(applied_of)},
        drift=on_current < applied_of,
        errors=_errors(pools, spoken(view.verdict.sentence)),
        processes=len(stand),
        listing=listing(stand, listed, wanted, fleet.at),
    )


def _errors(pools: list[PoolSnapshot], said: str) -> tuple[str, ...]:
    """The last connect errors, but for what the sentence above them says already."""
    found = {spoken(as_phrase(pool.last_error)) for pool in pools if pool.last_error}
    return tuple(sorted(error for error in found if error.strip().rstrip(".") not in said))


def _parts(parts: list[Part], paused: bool) -> tuple[str, ...]:
    """What a chip of its own says of a database; that all are paused another one says."""
    found = [_("%(database)s disabled") % {"database": part.name} for part in parts if part.disabled]
    if not paused:
        found += [_("%(database)s paused") % {"database": part.name} for part in parts if part.paused]
    return tuple(found)


def _killed(target: str, parts: list[Part], wanted: Wanted) -> str:
    killed = {part.name for part in parts if part.paused and {(target, ""), (target, part.name)} & wanted.killed}
    if not killed:
        return ""
    if len(killed) == len(parts):
        return _("It was killed: its clients were cut off, and it stays paused until somebody resumes.")
    said = _("Killed: %(databases)s. Its clients were cut off, and it stays paused until somebody resumes.")
    return said % {"databases": ", ".join(sorted(killed))}


def _paused(stopped: int, pools: int) -> str:
    if not stopped:
        return ""
    return _("paused") if stopped == pools else _("%(n)s of %(all)s paused") % {"n": stopped, "all": pools}


def _tiles(view: TargetView, kind: Kind, now: float) -> tuple[Tile, ...]:
    if kind.elsewhere:
        mean = duration(view.means.get("wait"))
        told = [
            Tile(
                _("Mean wait"), mean, "", _("of the last minute; %(kind)s tells no more") % {"kind": spoken(kind.label)}
            ),
            Tile(_("Transactions"), number(view.checkouts), _("last minute"), _("that ended, of all clients")),
        ]
    else:
        told = [_wait(view), _timeouts(view, now)]
    return (_used(view), _waiting(view), *told)


def _used(view: TargetView) -> Tile:
    """Of the role that has the least room: what others may open serves none of its requests."""
    worst = view.roles[0] if view.roles else None
    used, capacity = (worst.used, worst.capacity) if worst else (view.used, view.capacity)
    of = _("of %(n)s") % {"n": number(capacity)}
    title = _("checked out, of the most that the processes together may open now")
    if worst and len(view.roles) > 1:
        of = _("of %(n)s, %(role)s") % {"n": number(capacity), "role": worst.role}
        sums = {"used": number(view.used), "all": number(view.capacity)}
        title += _("; %(used)s of %(all)s in all roles") % sums
    return Tile(_("In use"), number(used), of, title, "warning" if worst and worst.full else "")


def _waiting(view: TargetView) -> Tile:
    longest = _("the longest for %(time)s") % {"time": duration(view.oldest_wait)} if view.oldest_wait else ""
    title = _("requests that wait for a connection now")
    return Tile(_("Waiting"), number(view.pending), longest, title, "warning" if view.pending else "")


def _wait(view: TargetView) -> Tile:
    p95 = view.wait.quantile(0.95)
    title = _("95 of 100 requests of the last minute waited less, those that waited in vain included")
    # Whoever waits now is not in it yet, and may wait for far longer.
    return Tile(_("Wait p95"), duration(p95), _("of those who wait no more"), title)


def _timeouts(view: TargetView, now: float) -> Tile:
    when = _("last minute")
    if view.timeouts and view.last_timeout_at:
        when = _("the last %(ago)s") % {"ago": ago(now - view.last_timeout_at)}
    return Tile(
        _("Timeouts"),
        number(view.timeouts),
        when,
        _("requests of the last minute that got no connection in time"),
        "critical" if view.timeouts else "",
    )


def _times(label: str, spread: Distribution) -> Times:
    count = spread.count
    said = ngettext("%(n)s in the last minute", "%(n)s in the last minute", count) % {"n": number(count)}
    p50, p95, p99 = (timed(spread.quantile(q)) for q in (0.5, 0.95, 0.99))
    return Times(label, p50, p95, p99, said)


def _means(view: TargetView) -> tuple[tuple[str, Figure], ...]:
    """Of a server that tells no more."""
    return (
        (_("Mean wait time"), timed(view.means.get("wait"))),
        (_("Mean transaction"), timed(view.means.get("use"))),
    )
