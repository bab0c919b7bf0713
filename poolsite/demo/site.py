"""The demo's servers and processes: what is started, with which environment, in which order, and how it stops."""

import fcntl
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from . import own_servers
from .pgbouncer import OwnPgBouncer
from .ports import HOST, free_port, is_taken
from .processes import Child, ProcessError
from .secret import kept_secret
from .servers import EmbeddedPostgres, EmbeddedRedis

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "operator"
DATABASE = "poolsite"
THREADS = 8

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    directory: Path
    port: int | None = 8000
    console_port: int | None = None
    answers_port: int | None = None
    workers: int = 2
    concurrency: int = 2
    searches_per_second: float = 3.0
    # Servers of one's own; empty means embedded ones.
    database_url: str = ""
    redis_url: str = ""
    postgres_port: int | None = None
    redis_port: int | None = None
    postgres_settings: dict[str, object] = field(default_factory=dict)
    with_pgbouncer: bool = False


class Site:
    """Everything that one demo runs. A context manager: leaving it stops all, in whatever state the start was."""

    def __init__(self, options: Options, say: Say = print) -> None:
        self.options = options
        self.say = say
        self.directory = options.directory
        self.logs = self.directory / "logs"
        self.postgres: EmbeddedPostgres | None = None
        self.redis: EmbeddedRedis | None = None
        self.pgbouncer: OwnPgBouncer | None = None
        self.children: list[Child] = []
        self.port = options.port or free_port()
        self.console_port = options.console_port or free_port()
        self.answers_port = options.answers_port or free_port()
        self.environment: dict[str, str] = {}
        self._lock = -1

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def console_url(self) -> str:
        return f"http://{HOST}:{self.console_port}"

    @property
    def answers_url(self) -> str:
        return f"http://{HOST}:{self.answers_port}"

    @property
    def password(self) -> str:
        return kept_secret(self.directory / "operator.password", 12)

    def __enter__(self) -> "Site":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- start ---------------------------------------------------------------------------------------------------------

    def start_servers(self) -> None:
        self._take_directory()
        if self.options.with_pgbouncer:
            # First, so that a machine without one is told at once.
            self.pgbouncer = OwnPgBouncer(self.directory / "pgbouncer", self.logs / "pgbouncer.log")
        ports = {"--port": self.port, "--console-port": self.console_port, "--answers-port": self.answers_port}
        for switch, port in ports.items():
            if is_taken(port):
                raise ProcessError(f"port {port} is taken: stop the program that listens there, or use {switch} N.")
        options = self.options
        if options.database_url:
            own_servers.check_postgres(options.database_url)
            self.say("PostgreSQL: the server that DATABASE_URL names")
        else:
            self.postgres = EmbeddedPostgres(
                self.directory / "postgres",
                port=options.postgres_port,
                settings=options.postgres_settings,
                log=self.logs / "postgres.log",
            )
            self.postgres.start()
            self.postgres.create_database(DATABASE)
            self.say(f"PostgreSQL: embedded, port {self.postgres.port}, data in {self._shown(self.postgres.data_dir)}")
            if self.postgres.moved_to:
                self.say("  (not in the checkout: PostgreSQL refuses to run as root, and its account can't read that)")
        if options.redis_url:
            own_servers.check_redis(options.redis_url)
            self.say("Redis: the server that REDIS_URL names")
        else:
            self.redis = EmbeddedRedis(self.directory / "redis", port=options.redis_port, log=self.logs / "redis.log")
            self.redis.start()
            self.say(f"Redis: embedded, port {self.redis.port}")
        self.environment = self._environment()

    def prepare(self, quiet: bool = False) -> list[str]:
        """Migrate, load the documents, provide the operator: in a process of its own, which shows its progress.

        Quiet, it shows nothing and returns the last line instead.
        """
        self.say("Preparing the database")
        command = [sys.executable, "-m", "poolsite.demo.prepare"]
        environment = {
            **self.environment,
            "OPERATOR": OPERATOR,
            "OPERATOR_PASSWORD": self.password,
            # That the tables are missing is no news before the migration.
            "LOG_LEVEL": "ERROR",
        }
        output, errors = (subprocess.PIPE, subprocess.STDOUT) if quiet else (None, None)
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=output, stderr=errors)
        if done.returncode:
            reason = f"\n{done.stdout}" if quiet else " the reason stands above."
            raise ProcessError(f"the database could not be prepared:{reason}")
        return done.stdout.splitlines()[-1:] if quiet else []

    def start_pgbouncer(self) -> None:
        """Where one is wanted. Once the database is prepared: the profile that its files follow is there."""
        if self.pgbouncer:
            self.pgbouncer.write(self.environment, ROOT)
            self.pgbouncer.start()
            self.say(f"PgBouncer: port {self.pgbouncer.port}, files in {self._shown(self.pgbouncer.directory)}")

    def start_processes(self) -> None:
        """Web, answers, console, Celery worker and beat; returns once the site, its answers and its console answer."""
        python = [sys.executable, "-m"]
        options = self.options
        server = [
            *("gunicorn", "--worker-class", "gthread", "--graceful-timeout", "8"),
            *("--access-logfile", "-", "--no-control-socket"),
        ]
        web = [
            *("poolsite.wsgi", "--bind", f"{HOST}:{self.port}"),
            *("--workers", str(options.workers), "--threads", str(THREADS)),
        ]
        # A process of its own, which answers while every thread of the web workers is used up.
        console = ["poolmgr.console:application", "--bind", f"{HOST}:{self.console_port}", "--threads", "4"]
        # What an ASGI server is for: many who wait for words, and hold nothing meanwhile.
        answers = ["uvicorn", "poolsite.asgi:application", "--host", HOST, "--port", str(self.answers_port)]
        worker = [
            *("celery", "-A", "poolsite", "worker", "--pool", "prefork", "--concurrency", str(options.concurrency)),
            *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
        ]
        schedule = str(self.directory / "beat-schedule")
        beat = ["celery", "-A", "poolsite", "beat", "--loglevel", "INFO", "--pidfile", "", "--schedule", schedule]
        self._start("web", [*python, *server, *web])
        self._start("answers", [*python, *answers, "--lifespan", "off"], ASYNC_VIEWS="1")
        self._start("console", [*python, *server, *console])
        self._start("Celery worker", [*python, *worker])
        self._start("Celery beat", [*python, *beat])
        self._await_answer(f"{self.url}/api/search?q=ready&limit=1")
        self._await_answer(f"{self.answers_url}/api/search?q=ready&limit=1")
        self._await_answer(f"{self.console_url}/admin/login/")

    def start_traffic(self) -> None:
        rate = self.options.searches_per_second
        if rate > 0:
            command = [sys.executable, "-m", "poolsite.demo.traffic", self.url, "--answers", self.answers_url]
            self._start("traffic", [*command, "--rate", str(rate)])

    def watch(self) -> None:
        """Returns never; raises when a part of the demo ends by itself."""
        while True:
            for child in self._all():
                if not child.running:
                    raise child.failed("the demo stops.")
            # Waiting on one child is the pause between two looks at all.
            self.children[0].wait(0.5)

    # -- stop ----------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the processes together, then the servers under them."""
        for child in reversed(self.children):
            child.terminate()
        deadline = time.monotonic() + 12
        for child in reversed(self.children):
            child.stop(timeout=max(0.1, deadline - time.monotonic()))
        self.children.clear()
        if self.pgbouncer:
            self.pgbouncer.stop()
        if self.redis:
            self.redis.stop()
        if self.postgres:
            self.postgres.stop()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def stop_and_verify(self) -> list[str]:
        """Stop, and make sure that nothing outlives it. Raises ProcessError naming who did."""
        started = self._all()
        self.stop()
        # Whom a master has killed at last is gone a moment after it.
        deadline = time.monotonic() + 5
        while (left := [child.name for child in started if child.session_lives()]) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            raise ProcessError(f"left behind: processes of {', '.join(left)}.")
        return []

    def _all(self) -> list[Child]:
        servers = [server.child for server in (self.postgres, self.redis, self.pgbouncer) if server]
        return [*self.children, *(child for child in servers if child)]

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _take_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProcessError(f"another demo runs with the data in {self.directory}: stop it first.") from None
        except OSError as error:
            raise ProcessError(
                f"the data can't be kept in {self.directory} ({error.strerror}):"
                " give --directory a directory that you may write to."
            ) from None

    def _environment(self) -> dict[str, str]:
        database = self.options.database_url or (self.postgres.url(DATABASE) if self.postgres else "")
        broker = self.options.redis_url or (self.redis.url() if self.redis else "")
        through = {}
        if self.pgbouncer:
            through = {
                "PGBOUNCER_URL": self.pgbouncer.console_url,
                "REPORTS_DATABASE_URL": self.pgbouncer.url(database),
            }
        return {
            **os.environ,
            **through,
            "DJANGO_SETTINGS_MODULE": "poolsite.settings",
            "SECRET_KEY": kept_secret(self.directory / "secret-key", 48),
            "ALLOWED_HOSTS": f"{HOST},localhost",
            # The demo listens on the loopback interface alone, where there is no certificate.
            "HTTPS": "0",
            "DATABASE_URL": database,
            "REDIS_URL": broker,
            # Two sites on one host share cookies, whatever their ports.
            "SESSION_COOKIE_NAME": f"poolsite_session_{self.port}",
            "CSRF_COOKIE_NAME": f"poolsite_csrf_{self.port}",
            # Who waits for words holds no connection meanwhile.
            "POOL_MODE": "transaction",
            "ANSWERS_URL": f"{self.answers_url}/answer/",
            "PYTHONUNBUFFERED": "1",
        }

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        log = self.logs / f"{name.lower().replace(' ', '-')}.log"
        # Each start begins its logs anew: the end of a log in an error belongs to this run.
        log.unlink(missing_ok=True)
        self.children.append(Child(name, command, log=log, env={**self.environment, **environment}, cwd=ROOT))

    def _await_answer(self, address: str, timeout: float = 40.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                raise self.children[0].failed(f"{address} answers with HTTP {error.code}.") from None
            except OSError:
                for child in self.children:
                    if not child.running:
                        raise child.failed("the demo stops.") from None
            self.children[0].wait(0.1)
        raise self.children[0].failed(f"no answer within {timeout:g} s.")

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
