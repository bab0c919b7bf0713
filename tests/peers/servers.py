"""The servers of a run, as the suites want them: without a password, and at addresses that they have written into them."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from poolsite.demo.redis import installed
from poolsite.demo.servers import EmbeddedRedis
from tests.djangosuite.server import server as postgresql_server
from tests.peers.peers import Peer
from tests.servers import scratch_directory
from tests.waiting import until

#: What django-redis's settings call the server that the Sentinel watches.
_SERVICES = ("127.0.0.1", "default_service")


@dataclass(frozen=True)
class Servers:
    """Ports on the loopback interface, the path of the Redis's socket, and a database's URL without its password, which
    stands in a file as libpq has it. What the suite doesn't need is 0 or empty."""

    redis: int = 0
    redis_path: str = ""
    sentinel: int = 0
    postgresql: str = ""
    passwords: str = ""

    def put_into(self, text: str) -> str:
        """A peer's argument or variable, with what it names."""
        at = urlsplit(f"//{self.postgresql}")
        named = {"host": at.hostname, "port": at.port, "user": at.username}
        return text.format(redis=self.redis, postgresql=self.postgresql, **named)


@contextmanager
def servers(peer: Peer) -> Iterator[Servers]:
    """What ``peer`` needs, empty, for the length of the block."""
    directory = scratch_directory()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if peer.on_postgresql:
            yield _postgresql(stack, directory)
            return
        path = directory / "redis.sock"
        server = stack.enter_context(EmbeddedRedis(directory / "redis", settings={"unixsocket": path}))
        with redis.Redis.from_url(server.url()) as client:
            client.config_set("requirepass", "")
        sentinel = 0
        if peer.sentinel_ports:
            sentinel = free_port()
            stack.callback(_sentinel(directory, sentinel, server.port).stop)
        yield Servers(server.port, str(path), sentinel)


def _postgresql(stack: ExitStack, directory: Path) -> Servers:
    # As Django's suite wants it too: some extensions are asked for before anything is run.
    at = stack.enter_context(postgresql_server(None))
    to = {"host": at.host, "port": at.port, "user": at.user, "password": at.password}
    with psycopg.connect(**to, dbname="template1", autocommit=True) as connection:
        connection.execute("CREATE DATABASE test")
    with psycopg.connect(**to, dbname="test", autocommit=True) as connection:
        connection.execute("CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2")
    passwords = directory / "passwords"
    passwords.touch(0o600)
    passwords.write_text(f"*:*:*:*:{at.password}\n")
    return Servers(postgresql=f"{at.user}@{at.host}:{at.port}/test", passwords=str(passwords))


def _sentinel(directory: Path, port: int, of: int) -> Child:
    # It writes into its configuration what it has found.
    config = directory / "sentinel.conf"
    watched = "".join(f"sentinel monitor {service} {HOST} {of} 1\n" for service in _SERVICES)
    config.write_text(f"port {port}\nbind {HOST}\ndir {directory}\n{watched}")
    child = Child("Sentinel", [str(installed()), str(config), "--sentinel"], log=directory / "sentinel.log")

    def answers() -> bool:
        try:
            with redis.Redis(host=HOST, port=port) as client:
                return bool(client.sentinel_get_master_addr_by_name(_SERVICES[-1]))
        except redis.RedisError:
            return False

    try:
        until(answers, "the Sentinel to answer")
    except BaseException:
        child.stop()
        raise
    return child
