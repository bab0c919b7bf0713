"""A proxy in a process of its own, whose connects take long: python -m benchmarks.slow_connects PORT SECONDS.

It prints its port, and for each line that it reads how many connections it has accepted.
"""

import subprocess
import sys
from types import TracebackType

from tests.proxy import Proxy


class SlowConnects:
    """In front of the server at ``port``."""

    def __init__(self, port: int, seconds: float) -> None:
        command = [sys.executable, "-m", "benchmarks.slow_connects", str(port), str(seconds)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self) -> "SlowConnects":
        assert self._child.stdout
        self.port = int(self._child.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin
        # It ends when nobody can ask it any more.
        self._child.stdin.close()
        self._child.wait(10)

    def accepted(self) -> int:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write("\n")
        return int(self._child.stdout.readline())


def main() -> None:
    proxy = Proxy(int(sys.argv[1]))
    proxy.delay = float(sys.argv[2])
    print(proxy.port, flush=True)
    for _line in sys.stdin:
        print(proxy.accepted, flush=True)
    proxy.close()


if __name__ == "__main__":
    main()
