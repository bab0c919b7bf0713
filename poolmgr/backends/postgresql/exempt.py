"""Who may begin a transaction although the pool's mode is statement: whoever keeps the site, not who uses it."""

from __future__ import annotations

import sys
import threading
from types import FrameType

from django.core.management.base import BaseCommand

from poolmgr.conf import SERVING_COMMANDS
from poolmgr.pools.forks import current_frames
from poolmgr.pools.lane import on_console_lane


def is_exempt() -> bool:
    """Whether the console or a management command asks: the mode that shuts the site out must not shut them out too.

    Dear beside a statement, and asked only where one would be refused.
    """
    return bool(on_console_lane()) or _is_commanded()


def _is_commanded() -> bool:
    """Whether this thread, or the one that the process began with, runs a management command that is no server."""
    if _runs_command(sys._getframe()):
        return True
    # A command's own threads, and what it awaits, work for it.
    main = threading.main_thread().ident
    return main is not None and _runs_command(current_frames().get(main))


def _runs_command(frame: FrameType | None) -> bool:
    begins = BaseCommand.execute.__code__
    while frame is not None:
        if frame.f_code is begins:
            name = type(frame.f_locals.get("self")).__module__.rpartition(".")[2]
            return name not in SERVING_COMMANDS
        frame = frame.f_back
    return False
