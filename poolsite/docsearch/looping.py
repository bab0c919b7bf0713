"""The event loop of this process for what awaits, in a thread of its own.

Under WSGI a request's own loop ends with the request, and so would the connections that were opened in it.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns, for a thread that waits; raises what it raises."""
    return asyncio.run_coroutine_threadsafe(coroutine, _running()).result()


def _running() -> asyncio.AbstractEventLoop:
    # By the process: a forked child has its parent's loop, and not the thread that runs it.
    with _lock:
        if (loop := _loops.get(os.getpid())) is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="event loop", daemon=True).start()
        return loop
