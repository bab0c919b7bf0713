"""What a pool and a process look like at one moment: immutable, and the same in memory, in Redis and in a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from poolmgr.metrics.decoding import Unreadable, decode, parsed
from poolmgr.metrics.histogram import BOUNDS, Distribution

#: The longest heartbeat that is read, in bytes, and the most pools in it. A pool takes 2 to 3 kB.
MAX_BEAT, MAX_POOLS = 4 * 1024 * 1024, 1000
#: The longest name of a target, which rows must hold too.
_LONGEST_TARGET = 200


@dataclass(frozen=True, slots=True)
class Holder:
    """A connection that is checked out: by which thread, for how many seconds, and why it stays.

    ``backend_pid`` is the number of its end at the server: a process of PostgreSQL's, a client of Redis's; 0 where none is
    known.
    """

    thread: str
    seconds: float
    backend_pid: int
    pinned: str = ""
    label: str = ""  # the view, task or command that it is held for
    request: str = ""  # the id of that request, where it has one that its user may know
    state: str = ""  # running, in transaction, failed transaction, idle; "" where nobody can tell
    statement: str = ""  # the last one, without the values in it

    @property
    def who(self) -> str:
        """As ``pools.owners.who()`` has it."""
        label = f"{self.label}[{self.request}]" if self.request else self.label
        return f"{label} in {self.thread}" if label else self.thread


@dataclass(frozen=True, slots=True)
class Part:
    """One database of a server that has pools of its own: whether it is paused, or refuses new clients, in any process."""

    name: str
    paused: bool = False
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One pool of one process.

    Gauges (``idle`` to ``oldest_wait``) are of the moment. Counters (``checkouts`` to ``leaks``) and the three
    distributions are cumulative since the pool was made; ``recent_*`` cover about the last minute. A wait in vain is in the
    wait times at its full length, and in ``timeouts``; ``checkouts`` are those that got a connection.
    """

    target: str
    kind: str = "postgresql"
    address: str = ""  # host:port/dbname, never a password
    at: float = 0.0  # seconds since the epoch
    status: str = "open"  # open | paused | closed
    pool_mode: str = "session"
    profile: str = "bootstrap"  # which desired settings are in force: "bootstrap" or "profile 3"
    revision: int = 0  # the profile's revision in force; 0 for the bootstrap settings
    generation: int = 0  # goes up with every recycle
    min_size: int = 0
    max_size: int = 0
    limit: int = 0  # max_size, or less while the fleet's budget grants less
    connection_timeout: float = 30.0
    settings: dict[str, Any] = field(default_factory=dict)  # all settings in force, by name
    idle: int = 0
    used: int = 0
    pending: int = 0
    opening: int = 0
    closing: int = 0  # given up, and not yet gone from the server
    oldest_checkout: float = 0.0
    slots: str = ""  # the used ones, a letter each (metrics/slots.py)
    oldest_wait: float = 0.0  # of a request that waits for a connection now, the longest, in seconds
    holders: tuple[Holder, ...] = ()
    parts: tuple[Part, ...] = ()
    backend_pids: tuple[int, ...] = ()
    behind_pooler: bool = False  # its connections lead to a pooler's, whose server connections it doesn't know
    checkouts: int = 0
    timeouts: int = 0
    checkout_errors: int = 0
    created: int = 0
    create_errors: int = 0
    closed: int = 0
    found_dead: int = 0
    left_behind: int = 0  # given up, and not seen to go from the server in time
    cleaned: int = 0
    reclaimed: int = 0
    leaks: int = 0
    refused: int = 0  # transactions, by statement mode
    pins: dict[str, int] = field(default_factory=dict)
    wait_time: Distribution = Distribution()
    use_time: Distribution = Distribution()
    create_time: Distribution = Distribution()
    recent_wait_time: Distribution = Distribution()
    recent_use_time: Distribution = Distribution()
    recent_timeouts: int = 0
    last_timeout_at: float = 0.0  # seconds since the epoch; 0 where none was
    paused_at: float = 0.0  # since when it is paused; 0 while it is not
    timeouts_paused: int = 0  # since then
    recent_refused: int = 0
    recent_checkouts: int = 0
    recent_means: dict[str, float] = field(default_factory=dict)  # "wait", "use": seconds, where no quantiles are told
    last_error: str = ""  # of the last failed connect, while none has succeeded since
    last_error_at: float = 0.0
    problem: str = ""  # what keeps it from doing as its settings say

    @property
    def size(self) -> int:
        """Server connections that this pool holds, is about to, or that are not yet gone."""
        return self.idle + self.used + self.opening + self.closing

    def check(self) -> None:
        """Refuse what would be misread. Raises ``Unreadable``."""
        if not 0 < len(self.target) <= _LONGEST_TARGET:
            raise Unreadable(f"is not a name of 1 to {_LONGEST_TARGET} characters", "target")
        for name in ("budget", "health_check_interval"):
            if isinstance(value := self.settings.get(name, 0), bool | str) or value < 0:
                raise Unreadable("is not a number from 0 up", f"settings.{name}")


@dataclass(frozen=True, slots=True)
class Ack:
    """What became of a command in one process: ``state`` is running, done or failed."""

    command: int
    state: str
    message: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessBeat:
    """One live process: the heartbeat that the fleet store keeps."""

    uid: str
    host: str
    pid: int
    role: str
    started: float
    at: float
    version: str = ""
    name: str = ""  # the command line's short form, for people
    pools: tuple[PoolSnapshot, ...] = field(default=(), metadata={"most": MAX_POOLS})
    acks: tuple[Ack, ...] = ()
    control_lost: float = 0.0  # since when it finds the control database away, by its own clock; 0 while it answers
    store_lost: float = 0.0  # the same of the fleet store in Redis
    problems: tuple[str, ...] = ()  # what keeps the process from following its settings, in sentences
    bounds: tuple[float, ...] = BOUNDS  # of every distribution in it, in seconds

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> ProcessBeat:
        """Rebuild a beat; unknown keys are dropped, so that fleets of mixed versions can read each other.

        Raises ``Unreadable``.
        """
        return decode(cls, data)

    @classmethod
    def from_json(cls, text: str | bytes) -> ProcessBeat:
        """The same from its text, which must be within ``MAX_BEAT``. Raises ``Unreadable``."""
        if len(text) > MAX_BEAT:
            raise too_long(len(text))
        return cls.from_dict(parsed(text))

    def check(self) -> None:
        """Refuse what would be misread. Raises ``Unreadable``."""
        if self.bounds != BOUNDS:
            raise Unreadable("counts times in other buckets than this version", "bounds")


def too_long(size: int) -> Unreadable:
    return Unreadable(f"it has {size:,} bytes, and the most are {MAX_BEAT:,}")
