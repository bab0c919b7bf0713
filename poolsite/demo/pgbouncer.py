"""A real PgBouncer before the demo's database, on files that `manage.py pgbouncer config` writes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from . import account
from .ports import HOST, free_port
from .processes import Child, ProcessError
from .secret import kept_secret

ADMIN = "boss"
#: Debian has it where only an administrator's PATH leads.
PROGRAMS = ("pgbouncer", "/usr/sbin/pgbouncer")


def installed() -> str:
    """The program's path."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise ProcessError(
            "--with-pgbouncer needs PgBouncer, and none is installed: Debian has it as the package pgbouncer."
        )
    return found


class OwnPgBouncer:
    """One process on the loopback interface, a child of this one; as root under the account that the database has."""

    def __init__(self, directory: Path, log: Path) -> None:
        self._program = installed()
        self.log = log
        self.port = free_port()
        self._account = account.unprivileged()
        reached = account.can_reach(self._account, directory.parent)
        self._beside = None if reached else account.own_directory(directory)
        self.directory = self._beside / "files" if self._beside else directory
        self._password = kept_secret(directory.with_name("pgbouncer.password"))
        self.child: Child | None = None

    @property
    def console_url(self) -> str:
        return f"postgresql://{ADMIN}:{self._password}@{HOST}:{self.port}/pgbouncer"

    def url(self, database_url: str) -> str:
        """Of the same database by the same user, through it."""
        got = urlsplit(database_url)
        who = ":".join(each for each in (got.username, got.password) if each)
        return f"postgresql://{who}@{HOST}:{self.port}{got.path}"

    def write(self, environment: Mapping[str, str], root: Path) -> None:
        """Its files, anew, as the site's own command has them."""
        self._make_directory()
        ini = self.directory / "pgbouncer.ini"
        settings = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "admin_users": ADMIN,
            # What comes back after each transaction goes round among more clients than there are connections.
            "pool_mode": "transaction",
            "default_pool_size": 4,
            "server_login_retry": 1,
        }
        ini.write_text("[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        self._give(ini)
        command = [sys.executable, "manage.py", "pgbouncer", "config", "--ini", str(ini), "--write"]
        quiet = {**environment, "LOG_LEVEL": "ERROR"}
        done = subprocess.run(command, cwd=root, env=quiet, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ProcessError(f"PgBouncer's files could not be written:\n{done.stdout}{done.stderr}")

    def start(self, timeout: float = 15.0) -> None:
        command = [self._program, str(self.directory / "pgbouncer.ini")]
        own = account.popen_arguments(self._account)
        child = self.child = Child("PgBouncer", command, log=self.log, account=own, cwd=Path("/"))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.console_url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if child.wait(0.03):
                    break
        failed = child.failed("see below.")
        self.stop()
        raise failed

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def destroy(self) -> None:
        """Stop, and remove its files."""
        self.stop()
        shutil.rmtree(self._beside or self.directory, ignore_errors=True)

    def _make_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._beside is not None:
            account.provide(self._beside)
        self.directory.mkdir(mode=0o700, parents=True)
        self._give(self.directory)

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
