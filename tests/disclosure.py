"""What an error would tell a reporter that prints locals: everything within its reach, searched for a secret."""

import dataclasses
import logging
import pprint
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FunctionType, MethodType, TracebackType
from typing import Any

from django.db import DatabaseError
from django.views.debug import ExceptionReporter

_TESTS = str(Path(__file__).parent)
#: Objects of these packages are looked into; of others a reporter shows the representation alone.
_OURS = ("poolmgr", "poolsite", "psycopg", "django.db", "redis", "sqlalchemy")


def disclosures(error: BaseException, *secrets: str) -> list[str]:
    """Where any of ``secrets`` stands: in words, notes, causes, contexts, locals of frames, or a reporter's page.

    Frames of the tests themselves don't count, which know the secret.
    """
    found = [place for place, text in _reach(error) if any(secret in text for secret in secrets)]
    return found + [place for place, text in _reports(error) if any(secret in text for secret in secrets)]


def disclosed_by_logs(records: list[logging.LogRecord], *secrets: str) -> list[str]:
    """The same for log records: what they say, what they were made from, and the errors that they carry."""
    found = []
    for record in records:
        place = f"log of {record.name} ({record.msg!r})"
        texts = [logging.Formatter().format(record), *(text for _, text in _values("", record.args))]
        found += [place for text in texts if any(secret in text for secret in secrets)]
        carried = [record.exc_info[1] if isinstance(record.exc_info, tuple) else None]
        carried += list(record.args) if isinstance(record.args, tuple) else []
        for each in carried:
            if isinstance(each, BaseException):
                found += [f"{place}: {where}" for where in disclosures(each, *secrets)]
    return found


def _reach(error: BaseException) -> Iterator[tuple[str, str]]:
    queue, seen = [("error", error)], {id(error)}
    while queue:
        place, each = queue.pop()
        yield place, f"{each} {each!r} {each.args!r}"
        yield f"{place}'s notes", repr(getattr(each, "__notes__", ""))
        for name, value in vars(each).items():
            yield from _values(f"{place}.{name}", value)
        for frame, line in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename.startswith(_TESTS):
                continue
            where = f"{place}, {frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
            for name, value in frame.f_locals.items():
                yield from _values(f"{where}, {name}", value)
                if isinstance(value, BaseException) and id(value) not in seen:
                    seen.add(id(value))
                    queue.append((f"{where}, {name}", value))
        grouped = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for name, other in (("cause", each.__cause__), ("context", each.__context__), *enumerate(grouped)):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                queue.append((f"{place}'s {name}", other))


def _values(place: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The representation of a value, of its parts, and of the attributes of objects that know connections."""
    yield place, _told(value)
    if depth > 3:
        return
    if isinstance(value, str):
        yield f"{place}, cut", repr(value[:70])  # as reporters do with what is long
    elif isinstance(value, Mapping):
        for key, each in list(value.items()):
            yield from _values(f"{place}[{key!r}]", key, depth + 1)
            yield from _values(f"{place}[{key!r}]", each, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in list(value):
            yield from _values(f"{place}[]", each, depth + 1)
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            yield f"{place}'s closure", repr(cell.cell_contents)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _values(f"{place}.{field.name}", getattr(value, field.name, None), depth + 1)
    elif type(value).__module__.startswith(_OURS) and not isinstance(value, BaseException | MethodType) and depth < 2:
        for name, each in list(getattr(value, "__dict__", {}).items()):
            yield f"{place}.{name}", _told(each)


def _told(value: Any) -> str:
    try:
        return f"{value!r} {pprint.pformat(value)}"
    except Exception as error:  # a query set asks its database, which is away
        return repr(error)


def _reports(error: BaseException) -> Iterator[tuple[str, str]]:
    """What Django's DEBUG page and the standard library's traceback make of it."""
    trimmed = _without_the_tests(error.__traceback__)
    for place, kind in (("Django's page", "html"), ("Django's mail", "text")):
        reporter = ExceptionReporter(None, type(error), error, trimmed)
        yield place, getattr(reporter, f"get_traceback_{kind}")()
    with suppress(DatabaseError):  # it stops at a local that can't be represented, as a query set without its database
        told = traceback.TracebackException(type(error), error, trimmed, capture_locals=True)
        yield "traceback with locals", "".join(told.format())


def _without_the_tests(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _without_the_tests(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(_TESTS):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
