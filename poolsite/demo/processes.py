"""Child processes that end with their parent, and errors that show what a child said last."""

import atexit
import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
# Loaded here, before any fork: the child between fork and exec must not import.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ProcessError(Exception):
    """A child could not be started or ended too soon; one line saying what to do, then the tail of its log."""


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, indented for an error message."""
    if not path.exists():
        return ""
    with path.open(errors="replace") as log:
        # Long statements of the server's log would bury the rest.
        return "".join(f"    {line.rstrip()[:300]}\n" for line in deque(log, maxlen=lines))


class Child:
    """One child process in a session of its own, so that Ctrl-C reaches it through us and in our order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: dict[str, str] | None = None,
        account: "dict[str, Any] | None" = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        orphan_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._popen: subprocess.Popen[bytes] = _spawn(
                lambda: subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(orphan_signal),
                    **(account or {}),
                )
            )
        if stdin is not None:
            assert self._popen.stdin is not None
            self._popen.stdin.write(stdin)
            self._popen.stdin.close()
        _living.append(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float) -> bool:
        """True when it has ended. Also the pause between two looks at a starting server: an early death ends it."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    def send(self, sign: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(sign)

    def stop(self, sign: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> None:
        """Ask, wait, then kill the whole session, so that a hung child leaves no grandchild behind."""
        self.send(sign)
        # A child stopped by SIGSTOP hears nothing until it is continued.
        self.send(signal.SIGCONT)
        if not self.wait(timeout):
            self.kill()
        if self in _living:
            _living.remove(self)

    def session_lives(self) -> bool:
        """Is anybody left of the child's process group, grandchildren included?"""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def failed(self, advice: str) -> ProcessError:
        """The error for a child that ended or never became ready, with what it said last."""
        how = "did not get ready" if self.running else f"ended with status {self.exit_status}"
        return ProcessError(f"{self.name} {how}: {advice} The end of {self.log}:\n{tail(self.log)}".rstrip())


def stop_on_signals() -> None:
    """Make SIGTERM and SIGHUP end the program the way Ctrl-C does: through every finally and exit handler."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    # nohup has its way.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, leave)
    # A shell starts its background jobs with SIGINT ignored; whoever sends one all the same means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


_living: list[Child] = []
_owner = os.getpid()


def _stop_the_living() -> None:
    # A fork of this process inherits the list, not the children.
    if os.getpid() == _owner:
        for child in reversed(_living[:]):
            child.stop(timeout=5)


atexit.register(_stop_the_living)


def _die_with_parent(sign: signal.Signals) -> Callable[[], None] | None:
    if _libc is None:
        return None
    prctl, number = _libc.prctl, int(sign)

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)

    return ask_the_kernel


# PR_SET_PDEATHSIG fires when the *thread* that forked ends, so one thread that lives as long as the process forks all.
_requests: "queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]]" = queue.SimpleQueue()
_spawner: threading.Thread | None = None
_spawner_lock = threading.Lock()


def _spawn(start: Callable[[], Any]) -> Any:
    global _spawner
    with _spawner_lock:
        if _spawner is None or not _spawner.is_alive():
            _spawner = threading.Thread(target=_serve_spawns, name="spawner", daemon=True)
            _spawner.start()
    future: Future[Any] = Future()
    _requests.put((start, future))
    return future.result()


def _serve_spawns() -> None:
    while True:
        start, future = _requests.get()
        try:
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)
