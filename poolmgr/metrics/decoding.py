"""From JSON to structs, checked by their annotations: what another version or another program wrote may hold anything."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, TypeVar

from msgspec import DecodeError, Meta, Struct, ValidationError, convert, json

from poolmgr.metrics.phrases import Phrase, packed

#: Far above what anybody counts, and so low that sums stay within 64 bits.
MOST = 2**48
#: Characters of a text, and items of a list or an object: no honest report comes near.
LONGEST, MOST_ITEMS = 10_000, 10_000

Text = Annotated[str, Meta(max_length=LONGEST)]
Whole = Annotated[int, Meta(ge=0, le=MOST)]
Real = Annotated[float, Meta(ge=0, le=MOST)]
Wholes = Annotated[tuple[Whole, ...], Meta(max_length=MOST_ITEMS)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=MOST_ITEMS)]
#: A setting's value.
Scalar = bool | Annotated[int, Meta(ge=-MOST, le=MOST)] | Annotated[float, Meta(ge=-MOST, le=MOST)] | Text

_T = TypeVar("_T", bound=Struct)
#: msgspec's words: what is wrong, and where.
_SAID = re.compile(r"(?P<what>.*?)(?: - at `\$?\.?(?P<where>.*)`)?", re.DOTALL)


class Unreadable(ValueError):
    """What was found can't be used; the message names the place and what should stand there, and repeats no value."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def decode(cls: type[_T], text: str | bytes) -> _T:
    """A struct from JSON; unknown keys are dropped, missing ones have their defaults.

    Raises ``Unreadable``.
    """
    data, kind = text.encode(errors="replace") if isinstance(text, str) else text, cls
    try:
        # A NUL fits into no row. It is looked for in the text, since nearly none has one.
        made: _T = convert(_mended(json.decode(data)), kind) if b"\\u0000" in data else _decoder(kind).decode(data)
    except ValidationError as error:
        found = _SAID.fullmatch(str(error))
        assert found is not None
        raise Unreadable(_lowered(found["what"]), found["where"] or "") from None
    except (DecodeError, UnicodeError, RecursionError):
        raise Unreadable("it is no JSON") from None
    return made


@cache
def _decoder(kind: Any) -> json.Decoder[Any]:
    return json.Decoder(kind)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def encode(value: Struct) -> bytes:
    """JSON, without what has its default, which whoever reads it puts in its place again."""
    try:
        return json.encode(value, enc_hook=_plain_text)
    except UnicodeEncodeError:
        # Half a surrogate pair, such as of a file name that is no UTF-8, fits into no page and no row.
        return json.encode(_mended(as_plain(value)), enc_hook=_plain_text)


def _plain_text(value: Any) -> str:
    """What whoever reads it makes a phrase of again. Raises ``NotImplementedError`` for all that is none."""
    if isinstance(value, Phrase):
        return packed(value)
    raise NotImplementedError(f"{type(value).__name__} is no plain value")


def as_plain(value: Any) -> Any:
    """The same as dictionaries and lists, with every default."""
    if isinstance(value, Struct):
        return {name: as_plain(getattr(value, name)) for name in value.__struct_fields__}
    return [as_plain(each) for each in value] if isinstance(value, tuple) else value


def _mended(value: Any) -> Any:
    if isinstance(value, Phrase):
        return _mended(packed(value))
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return [_mended(each) for each in value] if isinstance(value, list | tuple) else value
