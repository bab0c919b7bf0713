"""The servers of a run, as the suites want them: without a password, and at addresses that they have written into them."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from poolsite.demo.redis import EmbeddedRedis, installed
from tests.servers import scratch_directory
from tests.waiting import until

#: What django-redis's settings call the server that the Sentinel watches.
_SERVICE = "127.0.0.1"


@dataclass(frozen=True)
class Servers:
    """Ports on the loopback interface, and the path of the Redis's socket."""

    redis: int
    redis_path: Path
    sentinel: int


@contextmanager
def servers() -> Iterator[Servers]:
    directory = scratch_directory()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        path = directory / "redis.sock"
        server = stack.enter_context(EmbeddedRedis(directory / "redis", settings={"unixsocket": path}))
        with redis.Redis.from_url(server.url()) as client:
            client.config_set("requirepass", "")
        sentinel = free_port()
        stack.callback(_sentinel(directory, sentinel, server.port).stop)
        yield Servers(server.port, path, sentinel)


def _sentinel(directory: Path, port: int, of: int) -> Child:
    # It writes into its configuration what it has found.
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind {HOST}\ndir {directory}\nsentinel resolve-hostnames yes\n"
        f"sentinel monitor {_SERVICE} {HOST} {of} 1\n"
    )
    child = Child("Sentinel", [str(installed()), str(config), "--sentinel"], log=directory / "sentinel.log")

    def answers() -> bool:
        try:
            with redis.Redis(host=HOST, port=port) as client:
                return bool(client.sentinel_get_master_addr_by_name(_SERVICE))
        except redis.RedisError:
            return False

    try:
        until(answers, "the Sentinel to answer")
    except BaseException:
        child.stop()
        raise
    return child
