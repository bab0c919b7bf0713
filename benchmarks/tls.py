"""PostgreSQL over TLS, which the wheel's server can't: one from the machine's packages, and a front before the wheel's."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg

from poolsite.demo import account
from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child, ProcessError
from poolsite.demo.secret import kept_secret

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


def find_programs() -> Path | None:
    """The newest PostgreSQL that is installed with TLS; None where there is none, or no openssl to make a certificate."""
    if shutil.which("openssl") is None:
        return None
    found = [folder for place in PLACES for folder in Path("/").glob(place[1:]) if (folder / "initdb").exists()]
    for folder in sorted(found, key=lambda folder: (len(str(folder)), str(folder)), reverse=True):
        if b"openssl" in subprocess.run([folder / "pg_config", "--configure"], capture_output=True).stdout:
            return folder
    return None


class TlsFront:
    """Speaks TLS before the server at the port ``to`` and passes on what is said: a process of its own. It needs openssl."""

    def __init__(self, to: int, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self.port = free_port()
        key, certificate = directory / "front.key", directory / "front.crt"
        subprocess.run(_certifying(key, certificate), check=True, capture_output=True)
        command = [sys.executable, "-m", "benchmarks.front", str(self.port), str(to), str(certificate), str(key)]
        self._child = Child("the front for TLS", command, log=directory / "log")
        for _ in range(100):
            try:
                socket.create_connection((HOST, self.port), 2).close()
                return
            except OSError:
                if self._child.wait(0.05):
                    break
        raise self._child.failed("see below.")

    def stop(self) -> None:
        self._child.stop()


def _certifying(key: Path, certificate: Path) -> list[str]:
    """The command that makes a key and its self-signed certificate."""
    command = ["openssl", "req", "-new", "-x509", "-nodes", "-subj", f"/CN={HOST}"]
    return [*command, "-keyout", str(key), "-out", str(certificate)]


class TlsPostgres:
    """A server that admits clients over TLS with SCRAM only, and its self-signed certificate."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._own = account.popen_arguments(entry := account.unprivileged())
        directory.mkdir(mode=0o755)
        if entry is not None:
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        password_file = directory / "password"
        password = kept_secret(password_file)
        if entry is not None:
            os.chown(password_file, entry.pw_uid, entry.pw_gid)
        data, self.port = directory / "data", free_port()
        self._run(programs / "initdb", "-D", data, "-U", "tls", "--pwfile", password_file, "-A", "scram-sha-256", "-N")
        key, certificate = data / "server.key", data / "server.crt"
        self._run(*_certifying(key, certificate))
        self._run("chmod", "600", key)
        (data / "pg_hba.conf").write_text(f"hostssl all all {HOST}/32 scram-sha-256\n")
        settings = {"ssl": "on", "listen_addresses": HOST, "port": self.port, "unix_socket_directories": ""}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *options]
        self._child = Child("PostgreSQL", command, log=directory / "log", account=self._own, cwd=Path("/"))
        self.url = f"postgresql://tls:{quote(password, safe='')}@{HOST}:{self.port}/postgres"
        self._wait()

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd="/", **self._own)
        if done.returncode:
            raise ProcessError(f"{command[0]} failed: {done.stderr.strip()}")

    def _wait(self) -> None:
        for _ in range(100):
            try:
                psycopg.connect(self.url, sslmode="require", connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._child.wait(0.05):
                    break
        raise self._child.failed("see below.")

    def stop(self) -> None:
        self._child.stop()

    def about(self) -> str:
        with psycopg.connect(self.url, sslmode="require") as connection:
            row = connection.execute("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
            assert row
            return f"PostgreSQL {connection.info.server_version // 10000}, {row[0]}, {row[1]}"
