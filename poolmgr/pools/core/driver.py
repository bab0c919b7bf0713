"""What the core asks of a library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.stopping import Stop


class NoAnswer(Exception):
    """The server did not answer before the deadline; the connection is of no use any more."""


class NotTried(Exception):
    """Nothing was asked of the server: no fault of its."""


class Refused(Exception):
    """The server answered with an error, which is the cause: the connection works, and the question was no good."""


class Driver(Protocol):
    """Deadlines are on the monotonic clock. What may wait is called in a worker, but for ``ask()``, which has a deadline.

    ``errors`` maps each class of checkout error to the one to raise, which is the library's own of the same meaning too.
    """

    errors: Mapping[type[CheckoutError], type[CheckoutError]]

    def connect(self, timeout: float) -> Any:
        """A new connection that is ready to use, within about ``timeout`` seconds. May wait; raises the library's error."""

    def bind(self, conn: Any, slot: Any) -> None:
        """Told which slot a new connection stands in; it notes there whether a pooler is before the server."""

    def close(self, conn: Any, deadline: float) -> bool:
        """Close, and wait until the server has closed its end; whether that was seen. May wait."""

    def sever(self, conn: Any) -> None:
        """End the conversation that a borrower is in the middle of: they get their library's error. Never waits."""

    def stop(self, conn: Any) -> Stop | None:
        """What has the server stop the statement that runs; None where nothing does. From any thread; never waits.

        Raises ``LeftAlone`` where there is no way.
        """

    def fileno(self, conn: Any) -> int:
        """Of its socket; below 0 where there is none."""

    def server_id(self, conn: Any) -> int:
        """What the server calls its end of the connection; 0 where it doesn't tell."""

    def gone(self, conn: Any) -> bool:
        """Asked when the socket of an idle connection has news: whether it is of no use any more. Never waits."""

    def ask(self, conn: Any, query: str, deadline: float) -> None:
        """Have the server answer.

        Raises ``NoAnswer`` past the deadline, ``Refused``, or the library's error where the connection broke.
        """

    def standing(self, conn: Any) -> str:
        """Why its borrower may keep it for as long as they like, such as a subscription; empty where nothing says so."""

    def doing(self, conn: Any) -> str:
        """What its borrower is at, as a snapshot's holder has it; empty where nobody can tell. From any thread, at once."""

    def is_of_the_server(self, error: BaseException) -> bool:
        """Whether the server or the way to it made a connect fail. Else the site's own code did, such as a hook."""

    def diagnose(self, error: BaseException) -> Diagnosis:
        """Classify the error of a connect or of a question."""
