"""The servers of a run: PostgreSQL from the wheel, and PgBouncer in transaction mode where the machine has one."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from poolsite.demo import account
from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from poolsite.demo.servers import EmbeddedPostgres

#: The ideal of the hold measurement is a connection for each of 500 threads.
SETTINGS = {"max_connections": 700, "shared_buffers": "128MB", "fsync": "off"}


def start_postgres(directory: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory / "postgres", settings=SETTINGS).start()


def find_pgbouncer() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


def pgbouncer_version() -> str:
    if (found := find_pgbouncer()) is None:
        return "not installed"
    return subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


class PgBouncer:
    """In front of the server of ``url``; ``for_size`` is the URL of a pool with so many server connections, by transaction,
    and ``for_mode`` of a large one in that mode.
    """

    def __init__(self, directory: Path, url: str, sizes: tuple[int, ...], modes: tuple[str, ...] = ()) -> None:
        got = urlsplit(url)
        self.port = free_port()
        self._user, self._login = got.username or "", f"{got.username}:{got.password}"
        directory.mkdir(mode=0o755)
        users, ini = directory / "users.txt", directory / "pgbouncer.ini"
        # In plain text, as SCRAM towards the server needs it.
        users.write_text(f'"{got.username}" "{unquote(got.password or "")}"\n')
        where = f"host={HOST} port={got.port} dbname={got.path[1:]}"
        lines = [f"size{size} = {where} pool_size={size}" for size in sizes]
        lines += [f"{mode} = {where} pool_size=100 pool_mode={mode}" for mode in modes]
        lines = ["[databases]", *lines, "[pgbouncer]", *_settings(self.port, users, self._user)]
        ini.write_text("\n".join(lines) + "\n")
        entry = account.unprivileged()
        for path in (users, ini):
            path.chmod(0o600)
            if entry is not None:
                os.chown(path, entry.pw_uid, entry.pw_gid)
        program = find_pgbouncer()
        assert program
        log, own = directory.with_suffix(".log"), account.popen_arguments(entry)
        self._child = Child("PgBouncer", [program, "-q", str(ini)], log=log, account=own, cwd=Path("/"))
        self._wait(sizes[0])

    def for_size(self, size: int) -> str:
        return f"postgresql://{self._login}@{HOST}:{self.port}/size{size}"

    def for_mode(self, mode: str) -> str:
        return f"postgresql://{self._login}@{HOST}:{self.port}/{mode}"

    def console_url(self) -> str:
        return f"postgresql://{self._login}@{HOST}:{self.port}/pgbouncer"

    def stop(self) -> None:
        self._child.stop()

    def _wait(self, size: int) -> None:
        for _ in range(100):
            try:
                psycopg.connect(self.for_size(size), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._child.wait(0.05):
                    break
                time.sleep(0.05)
        raise self._child.failed("see below.")


def _settings(port: int, users: Path, admin: str) -> list[str]:
    return [
        f"listen_addr = {HOST}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {users}",
        f"admin_users = {admin}",
        "pool_mode = transaction",
        "max_client_conn = 1000",
        "ignore_startup_parameters = extra_float_digits,options",
    ]


def number_of_sessions(url: str, application: str) -> int:
    """How many sessions the server has from clients of this application_name."""
    with psycopg.connect(url, autocommit=True) as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        row = connection.execute(statement, [application]).fetchone()
    assert row
    return int(row[0])


def server_version(url: str) -> str:
    with psycopg.connect(url) as connection:
        return re.sub(r"\s*\(.*", "", connection.info.parameter_status("server_version") or "")
