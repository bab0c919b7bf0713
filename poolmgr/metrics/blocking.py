"""Who waits for whose locks at a server, as a tree: whoever is in the way of all others, and waits for nobody, is a root."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from msgspec import Struct

from poolmgr.metrics.decoding import Real, Text, Whole, Wholes
from poolmgr.metrics.phrases import counted, joined, phrase
from poolmgr.metrics.words import span


class Session(Struct, frozen=True, omit_defaults=True, gc=False):
    """One that waits for a lock, or is in the way of one that does. Times in seconds.

    ``kind`` is client, server (a process of the server's own, such as a vacuum, by its ``name``), or prepared: a transaction
    that was prepared for a commit and belongs to no session, by its ``name``, whose ``pid`` is 0. ``seconds`` is how long it
    has been in its ``state`` (running, in transaction, failed transaction, idle, or "" where nobody tells), or prepared;
    ``waits`` how long for a lock. ``address`` is empty for one on the server's own host. ``statement`` is the last one,
    without its values; of one that is ``hidden`` the server tells us, by the rights of our role, little more than the name.
    """

    pid: Whole
    kind: Text = "client"
    name: Text = ""
    user: Text = ""
    address: Text = ""
    state: Text = ""
    seconds: Real = 0.0
    waits: Real = 0.0
    blocked_by: Wholes = ()
    statement: Text = ""
    hidden: bool = False


#: Sessions that are told, at most.
SESSIONS = 100
#: Seconds from which a wait for a lock is told of: shorter ones are the daily life of a database.
WAITED = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Sessions of one application name, user and address."""

    name: str
    user: str
    address: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """A session in the tree: ``blocks`` are the pids of all that wait below it, ``others`` how many more are in its way."""

    session: Session
    depth: int
    blocks: tuple[int, ...]
    others: int = 0


def tree(sessions: Iterable[Session]) -> tuple[Branch, ...]:
    """Depth first, the root that blocks most before others, and who waits for longest before others.

    Who waits for several stands below one that waits for nobody, if there is one: that is whom to look at. In a deadlock,
    which the server is about to end, whoever has the lowest pid is the root.
    """
    known = {each.pid: each for each in sessions}
    above = {pid: _above(each, known) for pid, each in known.items()}
    below: dict[int, list[Session]] = {}
    for pid, parent in above.items():
        if parent is not None:
            below.setdefault(parent, []).append(known[pid])
    roots = [each for pid, each in known.items() if above[pid] is None and pid in below]
    found: list[list[Branch]] = []
    seen: set[int] = set()
    # What is left when all roots are done is in a circle.
    for root in [*roots, *(known[pid] for pid in sorted(below))]:
        if root.pid not in seen:
            found.append(_grown(root, below, known, seen))
    found.sort(key=lambda branches: (-len(branches), branches[0].session.pid))
    return tuple(branch for branches in found for branch in branches)


def _above(session: Session, known: Mapping[int, Session]) -> int | None:
    there = [known[pid] for pid in session.blocked_by if pid in known]
    return min(there, key=lambda each: (bool(each.blocked_by), -each.waits, each.pid)).pid if there else None


def _grown(
    root: Session, below: Mapping[int, list[Session]], known: Mapping[int, Session], seen: set[int]
) -> list[Branch]:
    branches: list[Branch] = []

    def grow(session: Session, depth: int) -> tuple[int, ...]:
        seen.add(session.pid)
        at = len(branches)
        branches.append(Branch(session, depth, ()))
        waiting: list[int] = []
        for each in sorted(below.get(session.pid, ()), key=lambda each: (-each.waits, each.pid)):
            if each.pid not in seen:
                waiting += (each.pid, *grow(each, depth + 1))
        others = max(0, sum(pid in known for pid in session.blocked_by) - 1)
        branches[at] = Branch(session, depth, tuple(waiting), others)
        return tuple(waiting)

    grow(root, 0)
    return branches


def called(session: Session) -> str:
    """Whose it is: “psql, user bob from 10.0.0.7”."""
    if session.kind == "prepared":
        if session.name:
            return phrase("the prepared transaction %(name)s", name=session.name)
        return phrase("a prepared transaction")
    if session.kind == "server":
        if session.name:
            return phrase("the server's own %(name)s", name=session.name)
        return phrase("a process of the server's own")
    name = session.name or phrase("server process %(pid)s", pid=str(session.pid))
    if session.user:
        name = phrase("%(name)s, user %(user)s", name=name, user=session.user)
    return phrase("%(name)s from %(address)s", name=name, address=session.address) if session.address else name


_STATES = {
    "running": phrase("running a statement"),
    "in transaction": phrase("idle in transaction"),
    "failed transaction": phrase("idle in a failed transaction"),
    "idle": phrase("idle"),
}


def at_work(session: Session) -> str:
    """What it is at, and for how long: “idle in transaction for 2 min”; empty where nobody tells."""
    if session.kind == "prepared":
        return phrase("prepared %(time)s ago", time=span(session.seconds)) if session.seconds else ""
    words = _STATES.get(session.state)
    return phrase("%(what)s for %(time)s", what=words, time=span(session.seconds)) if words else ""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Those who hold connections of ours and wait for locks, by ``pids``; ``root`` is in the way of most of them, in words.

    ``more`` roots are in that of others.
    """

    pids: tuple[int, ...]
    root: str
    more: int = 0

    @property
    def sentence(self) -> str:
        """Without its full stop."""
        root = phrase("%(root)s and %(n)s more", root=self.root, n=self.more) if self.more else self.root
        return counted(
            len(self.pids),
            "%(n)s holder waits for a lock of %(root)s",
            "%(n)s holders wait for a lock of %(root)s",
            root=root,
        )


def blocked(sessions: Iterable[Session], ours: Collection[int], names: Mapping[int, str]) -> Blocked | None:
    """Those of ``ours`` that have waited for ``WAITED``, or None; ``names`` are what to call the fleet's sessions."""
    branches = tree(sessions)
    late = {each.session.pid for each in branches if each.session.waits >= WAITED}.intersection(ours)
    roots = [(len(late.intersection(each.blocks)), each.session) for each in branches if not each.depth]
    roots = sorted((root for root in roots if root[0]), key=lambda root: (-root[0], root[1].pid))
    if not roots:
        return None
    worst = roots[0][1]
    said = joined(", ", filter(None, (names.get(worst.pid) or called(worst), at_work(worst))))
    return Blocked(tuple(sorted(late)), said, len(roots) - 1)
