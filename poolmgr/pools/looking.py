"""What a kind of target finds when its server is looked at, over a connection that is no pool's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from poolmgr.metrics.blocking import Group, Session
from poolmgr.metrics.health import Verdict
from poolmgr.metrics.phrases import phrase


@dataclass
class Look:
    """Filled in as the look goes on; times in seconds. What the server doesn't tell stays None or empty.

    ``used`` of ``most`` connections are taken at the server, ``reserved`` are kept from us. ``ids`` are those of the server's
    ends of connections, as snapshots have them; ``names`` those that sessions of ours go by which are older than a process
    may be silent. ``version`` has the product's name, such as ``PostgreSQL 18.4``. ``connected`` is set
    when the server has let us in. ``behind_pooler`` is, where another program is in between whose connections these are;
    ``named`` are those that a process of ours has used last. ``sessions`` are those that wait for locks, ``waiting`` in all,
    and those that are in their way; ``groups`` all that there are, by name; ``young`` have a name of ours and are so new that
    their process need not have told of them. Of ``hidden`` sessions our role may see little. ``query_error`` is None until
    the validation query has been answered: then it is "", or a sentence of why the server refuses it.
    """

    address: str
    connected: bool = False
    connect_time: float | None = None
    query_time: float | None = None
    used: int | None = None
    most: int | None = None
    reserved: int | None = None
    version: str = ""
    ids: Sequence[int] | None = None
    names: Sequence[str] = ()
    behind_pooler: bool = False
    named: int = 0
    sessions: tuple[Session, ...] = ()
    waiting: int = 0
    groups: tuple[Group, ...] = ()
    young: Sequence[int] = ()
    hidden: int = 0
    query_error: str | None = None
    verdicts: list[Verdict] = field(default_factory=list)

    def refuse(self, sentence: str, words: str = "") -> None:
        """Note that the server refuses the validation query; ``words`` are its own, for whoever has written the query."""
        self.query_error = words or sentence
        said = phrase("The validation query fails: %(error)s (%(address)s).", error=sentence, address=self.address)
        self.verdicts.append(Verdict("critical", said))


class Prober(Protocol):
    """``probe.look`` in the folder of a kind: fill in ``look`` by ``deadline`` on the monotonic clock.

    ``query`` gives the validation query; it is called when the server has let us in, and may wait. ``silence`` are the
    seconds after which a process that lives has reported. Raises whatever keeps it from an answer. It is called in a thread
    of its own, which imports nothing: ``probe.prepare(target)``, where there is one, has imported what it needs.
    """

    def __call__(self, target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None: ...


class InnerProber(Protocol):
    """``probe.look_within``, where a kind has it: the same over a connection of this process's pool, as one of its borrowers.

    Raises whatever keeps it from an answer; it is no request that failed.
    """

    def __call__(self, pool: Any, look: Look, deadline: float, silence: float) -> None: ...
