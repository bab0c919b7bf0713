"""The console as an application of its own: login, admin, dashboard and metrics of a site, and nothing else of it.

A site runs it as a small process beside its web workers, with the server and the settings that it has:
``gunicorn poolmgr.console:application``, or ``uvicorn poolmgr.console.asgi:application``. It answers while every thread of
the workers is used up. It makes no pool and reports no heartbeat, so that the fleet doesn't count it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    # Made when it is asked for: whoever imports poolmgr.console.asgi wants that one alone.
    if name == "application":
        return import_module("poolmgr.console.wsgi").application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
