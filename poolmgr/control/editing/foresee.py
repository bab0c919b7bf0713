"""What an edit would lead to: a pure function of how things stand, of which each rule tells its part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from zlib import crc32

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.editing import sizing, timing
from poolmgr.control.editing.consequences import CONFIRM, INFO, REFUSE, UNKNOWN, Consequence, Foreseen
from poolmgr.control.editing.outlook import Member, Outlook, number
from poolmgr.control.editing.transacting import statement_said
from poolmgr.control.reporting.pinned import reason_said
from poolmgr.pools.spec import FIELDS, plainly

#: Labels, and reasons of pins, that a sentence names.
_NAMED = 3


def foresee(o: Outlook) -> Foreseen:
    """All consequences, the gravest first."""
    return Foreseen.of(consequence for rule in RULES for consequence in rule(o))


def following(o: Outlook) -> Iterator[Consequence]:
    """Who follows the edit, and in what."""
    if not o.concerned:
        yield Consequence("following", INFO, _("Nothing changes for any process."))
        return
    if o.unread:
        said = _("How many processes follow it is not fully known: %(why)s") % {"why": o.unread}
        yield Consequence("following", UNKNOWN, said)
    counts = {role: len(o.of(role)) for role in o.concerned if o.of(role)}
    if not counts:
        if not o.unread:
            said = _("No process follows these settings now; the next that starts will: %(changes)s.")
            yield Consequence("following", INFO, said % {"changes": _changes(o, o.concerned[0])})
        return
    alike: dict[str, list[str]] = {}
    for role in counts:
        alike.setdefault(_changes(o, role), []).append(role)
    for changes, roles in alike.items():
        total = sum(counts[role] for role in roles)
        who = ", ".join(f"{role} {number(counts[role])}" for role in roles)
        sentence = ngettext(
            "%(n)s process follows it (%(who)s): %(changes)s.",
            "%(n)s processes follow it (%(who)s): %(changes)s.",
            total,
        )
        yield Consequence("following", INFO, sentence % {"n": number(total), "who": who, "changes": changes})


def _changes(o: Outlook, role: str) -> str:
    before, after = o.before[role], o.after[role]
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in FIELDS)
    return ", ".join(f"{name} {plainly(old)} → {plainly(new)}" for name, old, new in pairs if old != new)


def mode(o: Outlook) -> Iterator[Consequence]:
    """Whom another pool_mode takes something from."""
    changed = {
        o.after[role].pool_mode: role for role in o.concerned if o.before[role].pool_mode != o.after[role].pool_mode
    }
    for new, role in changed.items():
        members = [
            member for member in o.members if o.after[member.role].pool_mode == new != o.before[member.role].pool_mode
        ]
        if new == "statement":
            words = (statement_said(o.target, o.transacts, o.is_database), _who_transacts(members), _pins(members))
            yield Consequence("mode", CONFIRM, " ".join(filter(None, words)), new)
        elif new == "transaction" and o.before[role].pool_mode == "session":
            said = _(
                "Connections go back at the end of each transaction: state of a session, such as SET outside of one, is gone "
                "in the next; what the pool sees of it keeps the connection with its borrower."
            )
            yield Consequence("mode", INFO, " ".join(filter(None, (said, _pins(members)))), new)
        elif new == "session":
            said = _(
                "Each request holds its connection to its end, so that more may be needed at once: %(n)s are in use now."
            )
            used = sum(member.pool.used for member in members)
            yield Consequence("mode", INFO, said % {"n": number(used)}, new)


def _who_transacts(members: list[Member]) -> str:
    holders = [holder for member in members for holder in member.pool.holders]
    inside = [each for each in holders if each.state in ("in transaction", "failed transaction")]
    if not inside:
        return ""
    names = Counter(each.label or each.thread for each in inside)
    named = ", ".join(f"{name} ({number(n)})" for name, n in names.most_common(_NAMED))
    sentence = ngettext(
        "%(n)s holder is in a transaction now: %(named)s.",
        "%(n)s holders are in a transaction now: %(named)s.",
        len(inside),
    )
    return sentence % {"n": number(len(inside)), "named": named}


def _pins(members: list[Member]) -> str:
    """Whom state of a session has tied to a connection so far, by reason."""
    pins: Counter[str] = sum((Counter(member.pool.pins) for member in members), Counter())
    if not pins:
        return ""
    named = ", ".join(f"{reason_said(reason)} {number(n)}" for reason, n in pins.most_common(_NAMED))
    return _("Since the pools were made connections were pinned by: %(named)s.") % {"named": named}


def query(o: Outlook) -> Iterator[Consequence]:
    """What the server says to a new validation query."""
    if o.tried is None:
        return
    about = f"{crc32(o.tried.query.encode()):08x}"
    if o.tried.refused:
        said = _("The validation query was tried, and fails: %(why)s.") % {"why": o.tried.refused.rstrip(".")}
        yield Consequence("query", REFUSE, said, about)
    elif o.tried.unknown:
        said = _("The validation query could not be tried: %(why)s") % {"why": o.tried.unknown}
        yield Consequence("query", CONFIRM, said, about)
    else:
        yield Consequence("query", INFO, _("The validation query was tried at the server, and works."), about)


RULES: tuple[Callable[[Outlook], Iterator[Consequence]], ...] = (
    query,
    following,
    sizing.room,
    sizing.shrinking,
    sizing.budget,
    mode,
    timing.impatient,
    timing.crowded,
    sizing.growing,
    timing.ageing,
    timing.idling,
)
