"""Servers that speak Redis's protocol and are not quite like it."""

from pathlib import Path

from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolsite.demo.servers import EmbeddedRedis


def test_server_that_answers_something_else_than_an_id_is_used_all_the_same(tmp_path: Path) -> None:  # P9
    # As a proxy does that has an answer for each CLIENT.
    strange = {"rename-command CLIENT": '""', "rename-command ECHO": "CLIENT"}
    with EmbeddedRedis(tmp_path, settings=strange) as server:
        pool = ManagedConnectionPool.from_url(server.url(), pool={"min_size": 0, "connection_timeout": 1.0})
        conn = pool.get_connection()
        conn.send_command("PING")
        assert conn.read_response() == b"PONG"
        pool.release(conn)
        assert pool.managed.snapshot().backend_pids == ()
        pool.close()
