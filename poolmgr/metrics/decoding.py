"""From JSON to dataclasses, checked by their annotations: what another version or another program wrote may hold anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

#: Far above what anybody counts, and so low that sums stay within 64 bits.
MOST = 2**48
#: Characters of a text, and items of a list or an object: no honest report comes near.
LONGEST, MOST_ITEMS = 10_000, 10_000

_T = TypeVar("_T")
_Reader = Callable[[Any], Any]


class Unreadable(ValueError):
    """What was found can't be used; the message names the place and what should stand there, and repeats no value."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.where} {self.what}".strip()

    def inside(self, name: str) -> Unreadable:
        """The same, seen from one level further out."""
        return Unreadable(self.what, name + (f".{self.where}" if self.where[:1] not in ("", "[") else self.where))


def parsed(text: str | bytes) -> Any:
    """The JSON in ``text``. Raises ``Unreadable``."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable("it is no JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def decode(cls: type[_T], data: Any) -> _T:
    """An instance of a dataclass from an object; unknown keys are dropped, missing ones have their defaults.

    Its ``check()``, if it has one, has the last word. Raises ``Unreadable``.
    """
    kind: Any = cls
    made: _T = _reader(kind)(data)
    return made


@cache
def _reader(kind: Any) -> _Reader:
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return _items(_reader(inner[0]))
    if origin is dict:
        return _mapping(_reader(inner[1]))
    return _object(kind)


def _object(cls: Any) -> _Reader:
    hints = get_type_hints(cls)
    readers = [(each.name, _at_most(each.metadata.get("most"), _reader(hints[each.name]))) for each in fields(cls)]
    needed = {each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING}
    check = getattr(cls, "check", None)

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Unreadable("is not an object")
        found = {}
        try:
            for name, reader in readers:
                if name in value:
                    found[name] = reader(value[name])
        except Unreadable as error:
            raise error.inside(name) from None
        if missing := needed - found.keys():
            raise Unreadable(f"lacks {', '.join(sorted(missing))}")
        made = cls(**found)
        if check is not None:
            check(made)
        return made

    return read


def _at_most(most: int | None, read: _Reader) -> _Reader:
    """For a field whose metadata say how many items are the ``most``: more are not even looked at."""
    if most is None:
        return read

    def read_few(value: Any) -> Any:
        _look_at_list(value, most)
        return read(value)

    return read_few


def _items(read_one: _Reader) -> _Reader:
    def read(value: Any) -> tuple[Any, ...]:
        _look_at_list(value)
        found: list[Any] = []
        try:
            found.extend(map(read_one, value))
        except Unreadable as error:
            raise error.inside(f"[{len(found)}]") from None
        return tuple(found)

    return read


def _look_at_list(value: Any, most: int = MOST_ITEMS) -> None:
    if type(value) not in (list, tuple):
        raise Unreadable("is not a list")
    if len(value) > most:
        raise Unreadable(f"has {len(value)} items, and the most are {most}")


def _wholes(value: Any) -> tuple[int, ...]:
    # Most of a heartbeat are histograms; looked at one by one they would take most of the time.
    _look_at_list(value)
    if value and (set(map(type, value)) != {int} or min(value) < 0 or max(value) > MOST):
        raise Unreadable(f"holds something else than whole numbers from 0 to {MOST}")
    return tuple(value)


def _mapping(read_one: _Reader) -> _Reader:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Unreadable("is not an object")
        if len(value) > MOST_ITEMS:
            raise Unreadable(f"has {len(value)} keys, and the most are {MOST_ITEMS}")
        try:
            return {_text(name): read_one(each) for name, each in value.items()}
        except Unreadable as error:
            raise error.inside("a value") from None

    return read


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Unreadable("is not a text")
    if len(value) > LONGEST:
        raise Unreadable(f"has {len(value)} characters, and the most are {LONGEST}")
    if value.isascii():
        return value.replace("\0", "")
    # Half a surrogate pair, such as of a file name that is no UTF-8, fits in JSON and into no page and no row.
    return value.replace("\0", "").encode(errors="replace").decode()


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise Unreadable(f"is not a whole number from 0 to {MOST}")
    return value


def _real(value: Any) -> float:
    # NaN is in no range.
    if type(value) not in (int, float) or not 0 <= value <= MOST:
        raise Unreadable(f"is not a number from 0 to {MOST}")
    return float(value)


def _yes_or_no(value: Any) -> bool:
    if type(value) is not bool:
        raise Unreadable("is neither true nor false")
    return value


def _scalar(value: Any) -> Any:
    if type(value) is bool:
        return value
    if type(value) is str:
        return _text(value)
    if type(value) in (int, float) and -MOST <= value <= MOST:
        return value
    raise Unreadable("is neither a text nor a number")


_PLAIN: dict[Any, _Reader] = {
    str: _text,
    int: _whole,
    float: _real,
    bool: _yes_or_no,
    Any: _scalar,
    tuple[int, ...]: _wholes,
}
