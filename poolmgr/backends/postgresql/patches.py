"""Methods of Django's that ours go past: whether they are still Django's own, or somebody has put something before them.

Test runners forbid queries by patching them, and tracers watch connects and cursors in that way. So each short cut asks
first: ``Django.cursor is known.cursor or is_own("cursor")``.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from django.db.backends.base import base
from django.db.backends.postgresql import base as native
from django.utils.asyncio import async_unsafe

#: Where they are looked up: what is put before a method of either class is found here.
Django = native.DatabaseWrapper

_FILES = frozenset({base.__file__, native.__file__})
#: What async_unsafe() makes of every method.
_CHECKED = async_unsafe(lambda: None).__code__


class _Known:
    """Django's own methods as they were found so far. Not as they are at the import: by then they may be patched."""

    cursor: Any = None
    _cursor: Any = None
    create_cursor: Any = None
    make_cursor: Any = None
    queries_logged: Any = None
    connect: Any = None
    ensure_connection: Any = None
    close: Any = None
    close_if_unusable_or_obsolete: Any = None


known = _Known()


def is_own(name: str) -> bool:
    """Whether the method ``name`` is as Django wrote it; then ``known`` has it, and the next to ask need not ask here."""
    found = getattr(Django, name)
    function = found.fget if isinstance(found, property) else found
    if getattr(function, "__code__", None) is _CHECKED:
        function = getattr(function, "__wrapped__", None)
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    if code.co_filename not in _FILES or code.co_name != name:
        return False
    setattr(known, name, found)
    return True


def is_guarded() -> bool:
    """Whether somebody has put something before ``ensure_connection()``, as test runners do to forbid queries."""
    return Django.ensure_connection is not known.ensure_connection and not is_own("ensure_connection")
