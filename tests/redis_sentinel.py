"""Real Redis servers that a real Sentinel watches: a master, a replica, and one Sentinel, which is enough for its own vote."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.sentinel import Sentinel

from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from poolsite.demo.redis import EmbeddedRedis, installed
from tests.waiting import until

SERVICE = "service"


class Watched:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.password = ""
        first = self._start({})
        self.servers = [first, self._start({"replicaof": f"{HOST} {first.port}"})]
        self.port = free_port()
        self._sentinel = self._start_sentinel(first)
        until(lambda: self._says("num-slaves") == 1, "the Sentinel to see the replica", timeout=30)
        until(lambda: self.admin(self.servers[1]).info("replication")["master_link_status"] == "up", timeout=30)

    def _start(self, settings: Mapping[str, object]) -> EmbeddedRedis:
        folder = self._directory / f"server{len(list(self._directory.iterdir()))}"
        folder.mkdir(parents=True)
        if self.password:
            (folder / "redis.password").write_text(self.password)
        # The same on all, since any may become the master.
        server = EmbeddedRedis(folder, settings={**settings, "repl-diskless-sync-delay": 0})
        self.password = (folder / "redis.password").read_text().strip() if self.password else self._password(server)
        server._settings["masterauth"] = self.password
        return server.start()

    def _password(self, server: EmbeddedRedis) -> str:
        return server.url().split(":")[2].partition("@")[0]

    def _start_sentinel(self, master: EmbeddedRedis) -> Child:
        # Sentinel keeps what it learns in its configuration.
        file = self._directory / "sentinel.conf"
        file.write_text(
            f"bind {HOST}\nport {self.port}\ndir {self._directory}\n"
            f"sentinel monitor {SERVICE} {HOST} {master.port} 1\n"
            f"sentinel auth-pass {SERVICE} {self.password}\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        return Child("Sentinel", [str(installed()), str(file), "--sentinel"], log=self._directory / "sentinel.log")

    @property
    def sentinel_pid(self) -> int:
        return self._sentinel.pid

    def admin(self, server: EmbeddedRedis) -> Any:
        return redis.Redis.from_url(server.url())

    def sentinel(self, cls: Any = Sentinel, patience: float = 1, before: Sequence[tuple[str, int]] = ()) -> Any:
        """A client of the Sentinel, of either half of redis-py, which connects to the servers with the password. There may be
        others ``before`` it."""
        others = [*before, (HOST, self.port)]
        return cls(others, sentinel_kwargs={"socket_timeout": patience}, password=self.password)

    def _orders_failover(self) -> bool:
        try:
            return bool(self.sentinel().sentinels[0].execute_command("SENTINEL", "FAILOVER", SERVICE))
        except redis.ResponseError:
            return False

    def _says(self, what: str) -> Any:
        try:
            return self.sentinel().sentinels[0].sentinel_master(SERVICE)[what]
        except redis.RedisError:
            return None

    @property
    def master(self) -> EmbeddedRedis:
        """Whom the Sentinel names."""
        port = until(lambda: self._says("port"), "the Sentinel to name a master")
        return next(each for each in self.servers if each.port == port)

    @property
    def replica(self) -> EmbeddedRedis:
        master = self.master
        return next(each for each in self.servers if each is not master)

    def fail_over(self) -> None:
        """Have the replica become the master, as an operator does. The old one is told some ten seconds later: until then it
        answers as before, and takes what is written, which is lost."""
        before = self.master
        until(self._orders_failover, "the Sentinel to know the replica well enough", timeout=30)
        until(lambda: self.master is not before, "the replica to be master", timeout=30)

    def stop(self) -> None:
        self._sentinel.stop()
        for each in self.servers:
            each.stop()
