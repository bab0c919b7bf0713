"""A real PgBouncer in front of a test's database, under an ordinary account, since it refuses to run as root."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import dict_row

from poolsite.demo import account
from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from tests.waiting import until

_CACHE = Path(__file__).resolve().parent.parent / ".cache"
_FOUND = {
    "system": shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer"),
    # As `.ci/newer-pgbouncer` unpacks it.
    "newer": shutil.which("/opt/pgbouncer-newer/pgbouncer") or shutil.which(str(_CACHE / "pgbouncer-newer/pgbouncer")),
}
#: Paths of programs to run the tests on in place of these, for whoever has built other versions; their folders name them.
_GIVEN = os.environ.get("POOLMGR_PGBOUNCERS", "")
#: Those that there are on this machine: the path of each by its name. A test that needs one has the first, with `long` also
#: the others; with the mark `every_pgbouncer` it has them all.
PROGRAMS = {name: path for name, path in _FOUND.items() if path}
if _GIVEN:
    PROGRAMS = {Path(path).parent.name: path for path in _GIVEN.split(os.pathsep)}
#: Who may do everything on the console, who may only look, and who may not even that.
ADMIN, ONLOOKER, STRANGER = "boss", "looker", "stranger"
PASSWORD = "bouncer-password"


class Bouncer:
    """`databases` are its names for the one database behind; `settings` go into its file."""

    def __init__(
        self, program: str, directory: Path, url: str, databases: dict[str, str] | None = None, **settings: object
    ) -> None:
        self.program = program
        self.behind = urlsplit(url)
        self.port = free_port()
        self.databases = databases or {"app": "", "other": ""}
        self.directory = directory
        directory.mkdir(mode=0o755)
        self.users, self.ini = directory / "users.txt", directory / "pgbouncer.ini"
        people = [(name, PASSWORD) for name in (ADMIN, ONLOOKER, STRANGER)]
        # In plain text, as SCRAM towards the server needs it.
        people.append((self.behind.username or "", unquote(self.behind.password or "")))
        self.put(self.users, "".join(f'"{name}" "{password}"\n' for name, password in people))
        self.write(**settings)
        self._child: Child | None = None
        self.start()

    # -- the process --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        own = account.popen_arguments(account.unprivileged())
        command = [self.program, str(self.ini)]
        self._child = Child("PgBouncer", command, log=self.directory.with_suffix(".log"), account=own, cwd=Path("/"))
        until(self._answers, "PgBouncer to answer")
        self._started = self.version

    def stop(self) -> None:
        if self._child is not None:
            self.thaw()
            # After SIGTERM it waits, from version 1.23 on, for its clients to leave.
            self._child.stop(signal.SIGTERM if self._started < (1, 23) else signal.SIGQUIT)
            self._child = None

    @property
    def alive(self) -> bool:
        return self._child is not None and not self._child.wait(0)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def write(self, **settings: object) -> None:
        """Its file, which it reads when it starts and at RELOAD."""
        got = self.behind
        lines = ["[databases]"]
        lines += [
            f"{name} = host={HOST} port={got.port} dbname={got.path[1:]} {more}"
            for name, more in self.databases.items()
        ]
        given = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.users,
            "admin_users": ADMIN,
            "stats_users": ONLOOKER,
            "pool_mode": "transaction",
            "max_client_conn": 100,
            "ignore_startup_parameters": "extra_float_digits,options",
            **settings,
        }
        lines += ["[pgbouncer]", *(f"{name} = {value}" for name, value in given.items())]
        self.put(self.ini, "\n".join(lines) + "\n")

    def put(self, path: Path, text: str) -> None:
        """A file of its own, which its account may read."""
        path.write_text(text)
        path.chmod(0o600)
        if (entry := account.unprivileged()) is not None:
            os.chown(path, entry.pw_uid, entry.pw_gid)

    # -- its console, and what is behind it ---------------------------------------------------------------------------

    def console_url(self, user: str = ADMIN, password: str = PASSWORD, port: int = 0) -> str:
        return f"postgresql://{user}:{password}@{HOST}:{port or self.port}/pgbouncer"

    def url(self, database: str = "app") -> str:
        return f"postgresql://{self.behind.username}:{self.behind.password}@{HOST}:{self.port}/{database}"

    def console(self, statement: str) -> list[dict[str, Any]]:
        """What the console answers."""
        with psycopg.connect(
            self.console_url(), autocommit=True, row_factory=dict_row, connect_timeout=5
        ) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def setting(self, name: str) -> str:
        return next(str(row["value"]) for row in self.console("SHOW CONFIG") if row["key"] == name)

    @property
    def version(self) -> tuple[int, ...]:
        """Such as (1, 18, 0)."""
        told = str(self.console("SHOW VERSION")[0]["version"])
        return tuple(int(part) for part in told.split()[1].split("."))

    def consoles(self) -> int:
        """How many connections to the console there are, this one's not counted."""
        return sum(row["database"] == "pgbouncer" for row in self.console("SHOW CLIENTS")) - 1

    def client(self, database: str = "app", **more: Any) -> Any:
        return psycopg.connect(self.url(database), prepare_threshold=None, **more)

    def _answers(self) -> bool:
        assert self._child
        if self._child.wait(0):
            raise self._child.failed("see below.")
        try:
            psycopg.connect(self.console_url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self._child
        os.kill(self._child.pid, number)
