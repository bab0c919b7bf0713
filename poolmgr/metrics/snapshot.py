"""What a pool and a process look like at one moment: immutable, and the same in memory, in Redis and in a row."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from poolmgr.metrics.decoding import Real, Scalar, Text, Texts, Unreadable, Whole, Wholes, as_plain, decode, encode
from poolmgr.metrics.histogram import BUCKETS, Distribution
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.serving import Serving
from poolmgr.metrics.uses import Uses

#: The longest heartbeat that is read, in bytes, and the most pools in it. A pool takes 2 to 3 kB.
MAX_BEAT, MAX_POOLS = 4 * 1024 * 1024, 1000
#: The longest name of a target, which rows must hold too.
_LONGEST_TARGET = 200


class Holder(Struct, frozen=True, omit_defaults=True, gc=False):
    """A connection that is checked out: by which thread, for how many seconds, and why it stays.

    ``backend_pid`` is the number of its end at the server: a process of PostgreSQL's, a client of Redis's; 0 where none is
    known. ``checkout`` names this checkout and no later one in its process; "" where nobody can ask for it.
    """

    thread: Text
    seconds: Real
    backend_pid: Whole
    pinned: Text = ""
    label: Text = ""  # the view, task or command that it is held for
    request: Text = ""  # the id of that request, where it has one that its user may know
    state: Text = ""  # running, in transaction, failed transaction, idle, ended; "" where nobody can tell
    statement: Text = ""  # the last one, without the values in it
    checkout: Text = ""

    @property
    def who(self) -> str:
        """As ``pools.owners.who()`` has it."""
        label = f"{self.label}[{self.request}]" if self.request else self.label
        return phrase("%(who)s in %(place)s", who=label, place=self.thread) if label else self.thread


class Part(Struct, frozen=True, omit_defaults=True, gc=False):
    """One database of a server that has pools of its own: whether it is paused, or refuses new clients, in any process."""

    name: Text
    paused: bool = False
    disabled: bool = False


class PoolSnapshot(Struct, frozen=True, omit_defaults=True, gc=False):
    """One pool of one process.

    Gauges (``idle`` to ``oldest_wait``) are of the moment. Counters (``checkouts`` to ``leaks``) and the three
    distributions are cumulative since the pool was made; ``recent_*`` cover about the last minute. A wait in vain is in the
    wait times at its full length, and in ``timeouts``; ``checkouts`` are those that got a connection.
    """

    target: Annotated[str, Meta(min_length=1, max_length=_LONGEST_TARGET)]
    kind: Text = "postgresql"
    address: Text = ""  # host:port/dbname, never a password
    at: Real = 0.0  # seconds since the epoch
    status: Text = "open"  # open | paused | closed
    pool_mode: Text = "session"
    profile: Text = "bootstrap"  # which desired settings are in force: "bootstrap" or "profile 3"
    revision: Whole = 0  # the profile's revision in force; 0 for the bootstrap settings
    generation: Whole = 0  # goes up with every recycle
    min_size: Whole = 0
    max_size: Whole = 0
    limit: Whole = 0  # max_size, or less while the fleet's budget grants less
    connection_timeout: Real = 30.0
    settings: dict[Text, Scalar] = field(default_factory=dict)  # all settings in force, by name
    digest: Text = ""  # of all settings, where they are not told (metrics/details.py)
    idle: Whole = 0
    used: Whole = 0
    pending: Whole = 0
    opening: Whole = 0
    closing: Whole = 0  # given up, and not yet gone from the server
    oldest_checkout: Real = 0.0
    slots: Text = ""  # the used ones, a letter each (metrics/slots.py)
    oldest_wait: Real = 0.0  # of a request that waits for a connection now, the longest, in seconds
    holders: tuple[Holder, ...] = ()
    uses: Uses = ()
    parts: tuple[Part, ...] = ()
    backend_pids: Wholes = ()
    behind_pooler: bool = False  # its connections lead to a pooler's, whose server connections it doesn't know
    checkouts: Whole = 0
    timeouts: Whole = 0
    checkout_errors: Whole = 0
    created: Whole = 0
    create_errors: Whole = 0
    closed: Whole = 0
    found_dead: Whole = 0
    left_behind: Whole = 0  # given up, and not seen to go from the server in time
    cleaned: Whole = 0
    reclaimed: Whole = 0
    leaks: Whole = 0
    refused: Whole = 0  # transactions, by statement mode
    pins: dict[Text, Whole] = field(default_factory=dict)
    wait_time: Distribution = Distribution()
    use_time: Distribution = Distribution()
    create_time: Distribution = Distribution()
    recent_wait_time: Distribution = Distribution()
    recent_use_time: Distribution = Distribution()
    recent_timeouts: Whole = 0
    last_timeout_at: Real = 0.0  # seconds since the epoch; 0 where none was
    paused_at: Real = 0.0  # since when it is paused; 0 while it is not
    timeouts_paused: Whole = 0  # since then
    recent_refused: Whole = 0
    recent_checkouts: Whole = 0
    recent_means: dict[Text, Real] = field(default_factory=dict)  # "wait", "use": seconds, where no quantiles are told
    last_error: Text = ""  # of the last failed connect, while none has succeeded since
    last_error_at: Real = 0.0
    problem: Text = ""  # what keeps it from doing as its settings say

    @property
    def size(self) -> int:
        """Server connections that this pool holds, is about to, or that are not yet gone."""
        return self.idle + self.used + self.opening + self.closing

    def number(self, setting: str, otherwise: float = 0.0) -> float:
        """The value of a setting that is a number; ``otherwise`` where it is none that counts."""
        value = self.settings.get(setting, otherwise)
        return otherwise if isinstance(value, bool | str) or value < 0 else value


class Ack(Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of a command in one process: ``state`` is running, done or failed."""

    command: Whole
    state: Text
    message: Text = ""
    at: Real = 0.0


class ProcessBeat(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="buckets", tag=BUCKETS):
    """One live process: the heartbeat that the fleet store keeps, tagged with the buckets of every distribution in it."""

    uid: Text
    host: Text
    pid: Whole
    role: Text
    started: Real
    at: Real
    version: Text = ""
    name: Text = ""  # the command line's short form, for people
    pools: Annotated[tuple[PoolSnapshot, ...], Meta(max_length=MAX_POOLS)] = ()
    acks: tuple[Ack, ...] = ()
    control_lost: Real = 0.0  # since when it finds the control database away, by its own clock; 0 while it answers
    store_lost: Real = 0.0  # the same of the fleet store in Redis
    problems: Texts = ()  # what keeps the process from following its settings, in sentences
    serving: Serving | None = None  # its request threads, where their number is known

    def to_dict(self) -> dict[str, Any]:
        """Everything, for programs."""
        told: dict[str, Any] = as_plain(self)
        return told

    def to_json(self) -> bytes:
        """For a store; ``from_json`` reads it."""
        return encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> ProcessBeat:
        """Rebuild a beat from its text, which must be within ``MAX_BEAT``.

        Unknown keys are dropped, so that fleets of mixed versions can read each other. Raises ``Unreadable``.
        """
        if len(text) > MAX_BEAT:
            raise too_long(len(text))
        try:
            return decode(cls, text)
        except Unreadable as error:
            if error.where == "buckets":
                raise Unreadable("it counts times in other buckets than this version") from None
            raise


def too_long(size: int) -> Unreadable:
    return Unreadable(f"it has {size:,} bytes, and the most are {MAX_BEAT:,}")
