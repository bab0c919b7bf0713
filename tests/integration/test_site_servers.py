"""The embedded servers: real, restartable, with errors that say what to do."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from poolsite.demo.processes import ProcessError
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.sampling import first_always


def test_postgres_is_real_and_has_vectors(postgres):
    with psycopg.connect(postgres.url()) as connection:
        assert connection.info.server_version >= 180000
    with psycopg.connect(postgres.create_database("with_vectors")) as connection:
        assert connection.execute("SELECT '[1,2]'::vector <=> '[1,2]'::vector").fetchone() == (0.0,)


def test_password_is_required(postgres):
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(postgres.url().replace("poolmgr:", "poolmgr:not-"))


@pytest.mark.long
@pytest.mark.parametrize("mode", first_always("immediate", "fast"))
def test_restart_keeps_port_and_data(make_postgres, mode):
    server = make_postgres()
    url = server.create_database("kept")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    port, pid = server.port, server.pid
    server.restart(mode)
    assert (server.port, server.pid != pid) == (port, True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_settings_reach_the_server(make_postgres):
    server = make_postgres(max_connections=17)
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)


@pytest.mark.long
def test_frozen_server_stops(make_postgres):
    server = make_postgres()
    os.kill(server.pid, signal.SIGSTOP)
    pid = server.pid
    server.stop("immediate")
    assert not psutil.pid_exists(pid)


def test_taken_port_is_one_clear_line(postgres, redis_server, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for server in (EmbeddedPostgres(tmp_path / "pg", port=port), EmbeddedRedis(tmp_path / "redis", port=port)):
            with pytest.raises(ProcessError, match=rf"port {port} is taken: stop the program"):
                server.start()


def test_server_that_will_not_start_shows_its_log(make_postgres):
    with pytest.raises(ProcessError, match=r"ended with status 1(.|\n)*no_such_setting"):
        make_postgres(no_such_setting=1)


def test_redis_is_real_and_restarts(make_redis):
    server = make_redis()
    client = redis.Redis.from_url(server.url())
    assert client.set("key", "value")
    server.restart()
    assert client.get("key") is None
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_servers_die_with_a_killed_parent(tmp_path):
    code = (
        "import sys, time; from poolsite.demo.servers import *\n"
        "p = EmbeddedPostgres(sys.argv[1] + '/pg').start(); r = EmbeddedRedis(sys.argv[1] + '/redis').start()\n"
        "print(p.pid, r.pid, p.moved_to or '', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().decode().split()
        children = [psutil.Process(int(word)) for word in words[:2]]
        parent.kill()
    EmbeddedPostgres(tmp_path / "pg").destroy()
    assert not psutil.wait_procs(children, timeout=10)[1]
