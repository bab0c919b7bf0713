"""Who blocks whom at a target's server, as the page has it: a tree in lines, whoever is in the way of all first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.ours import Whose, holders
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.addresses import holder_address
from poolmgr.dashboard.words.present import HOLDER_STATES, Figure, ago, number, timed
from poolmgr.metrics.blocking import WAITED, Branch, Session, tree

#: How far lines are set in at most.
_DEEPEST = 5


@dataclass(frozen=True, slots=True)
class BlockLine:
    """A session: ``name`` is the label of a holder of ours, or what a stranger calls itself; a ``root`` waits for nobody.

    Behind a pooler, and of a name of ours that nobody has told of, nobody knows whether it is a ``stranger``.
    """

    depth: int
    root: bool
    stranger: bool
    name: str
    request: str
    place: str
    state: str
    seconds: Figure
    blocks: str
    also: str
    end: str
    statement: str
    address: str  # of the holder's page, "" where there is none


@dataclass(frozen=True, slots=True)
class Blocking:
    """``old`` says that nobody knows whether it is so still. ``notes`` are sentences on what is not shown."""

    lines: tuple[BlockLine, ...]
    seen: str
    old: bool
    notes: tuple[str, ...]


def blocking(view: TargetView, fleet: Fleet, end: str, statements: bool) -> Blocking | None:
    """None where nobody has waited for a lock for longer than a moment."""
    seen = view.seen
    branches = tree(seen.sessions) if seen else ()
    if seen is None or not any(branch.session.waits >= WAITED for branch in branches):
        return None
    mine = {} if seen.behind_pooler else holders(view.target, fleet.processes)
    lines = tuple(_line(branch, mine, end, statements, not seen.behind_pooler) for branch in branches)
    return Blocking(lines, ago(fleet.at - seen.at), not view.seen_now, _notes(view, branches))


def blockers(view: TargetView, fleet: Fleet) -> dict[int, str]:
    """Whom each blocked connection of ours waits for in the end, by the number of its own end."""
    if view.blocked is None or view.seen is None:
        return {}
    mine = holders(view.target, fleet.processes)
    roots = [branch for branch in tree(view.seen.sessions) if not branch.depth]
    found = {pid: ", ".join(filter(None, _name(root.session, mine))) for root in roots for pid in root.blocks}
    return {pid: found[pid] for pid in view.blocked.pids if pid in found}


def _line(branch: Branch, mine: Mapping[int, Whose], end: str, statements: bool, known: bool) -> BlockLine:
    session = branch.session
    name, request, place = _name(session, mine)
    waits = bool(branch.depth)
    return BlockLine(
        depth=min(branch.depth, _DEEPEST),
        root=not waits,
        stranger=known and session.pid not in mine and not session.name.startswith("poolmgr:"),
        name=name,
        request=request,
        place=place,
        state=_("waits") if waits else _state(session),
        seconds=timed(session.waits if waits else session.seconds),
        blocks=_blocks(len(branch.blocks)) if branch.blocks else "",
        also=_also(branch.others) if branch.others else "",
        end=f"{end} {session.pid}" if session.pid else "",
        statement=session.statement if statements else "",
        address=_address(mine.get(session.pid)),
    )


def _name(session: Session, mine: Mapping[int, Whose]) -> tuple[str, str, str]:
    """What to call it, the request's id, and where it is."""
    if session.pid in mine:
        holder = mine[session.pid].holder
        name = holder.label or holder.thread if holder else _("a connection of ours")
        return name, holder.request if holder else "", mine[session.pid].place
    if session.kind == "prepared":
        return str(capfirst(_("a prepared transaction"))), session.name, session.user
    user = _("user %(user)s") % {"user": session.user} if session.user else ""
    where = _("from %(address)s") % {"address": session.address} if session.address else ""
    name = session.name or (_("a nameless session") if session.kind == "client" else _("a process of the server's own"))
    return name, "", " ".join(filter(None, (user, where)))


def _address(whose: Whose | None) -> str:
    if whose is None or whose.holder is None:
        return ""
    return holder_address(whose.beat.uid, whose.target, whose.holder.checkout)


def _state(session: Session) -> str:
    if session.kind == "prepared":
        return _("prepared, and neither committed nor rolled back")
    return str(HOLDER_STATES.get(session.state, _("state not shown to us") if session.hidden else ""))


def _blocks(count: int) -> str:
    return ngettext("blocks %(n)s", "blocks %(n)s", count) % {"n": number(count)}


def _also(count: int) -> str:
    said = ngettext("waits for %(n)s more too", "waits for %(n)s more too", count)
    return said % {"n": number(count)}


def _notes(view: TargetView, branches: tuple[Branch, ...]) -> tuple[str, ...]:
    seen = view.seen
    assert seen is not None
    found = []
    waiting = sum(bool(branch.depth) for branch in branches)
    if seen.waiting > waiting:
        said = ngettext("%(n)s more waits for a lock.", "%(n)s more wait for locks.", seen.waiting - waiting)
        found.append(said % {"n": number(seen.waiting - waiting)})
    if any(branch.session.hidden for branch in branches):
        found.append(
            _("Our role may not see what others do; GRANT pg_read_all_stats to it shows their states and addresses.")
        )
    if seen.behind_pooler:
        found.append(_("A pooler is in between: which of these are ours can't be told."))
    return tuple(found)
