"""Sentences that can be said in another language: text in English that still knows its form and its figures.

Whoever only prints, logs or searches takes a phrase for the text that it is. A page says it in its reader's language
(``poolmgr.control.reporting.spoken``), and what goes to another process or into a row is ``packed`` there and ``unpacked``
where it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

#: A name, a number, or a phrase within a phrase.
Part = str | int | float

#: What a packed phrase begins with: no sentence does.
_MARK = '{"form": '
#: Phrases within phrases that are read at most, and characters of a packed one.
_DEPTH, LONGEST = 8, 8_000
BARE, CAPITAL = "bare", "capital"
_NO_PARTS: Mapping[str, Part] = MappingProxyType({})


class Phrase(str):
    """``form`` is the sentence in English, with ``%(name)s`` where ``parts`` belong; ``many`` its plural, for ``number``.

    Without parts, a per cent sign is one. ``trim`` says how it stands: BARE is without its full stop, CAPITAL begins with
    a capital letter.
    """

    __slots__ = ("form", "many", "number", "parts", "trim")

    form: str
    parts: Mapping[str, Part]
    many: str
    number: int
    trim: str

    def __new__(
        cls, form: str, parts: Mapping[str, Part] = _NO_PARTS, many: str = "", number: int = 0, trim: str = ""
    ) -> Phrase:
        chosen = many if many and number != 1 else form
        text = chosen % {name: _plain(part) for name, part in parts.items()} if parts else chosen
        made = super().__new__(cls, trimmed(text, trim))
        made.form, made.parts, made.many, made.number, made.trim = form, parts, many, number, trim
        return made

    def __reduce__(self) -> tuple[type[Phrase], tuple[object, ...]]:
        return Phrase, (self.form, dict(self.parts), self.many, self.number, self.trim)


def _plain(part: Part) -> str:
    return f"{part:g}" if isinstance(part, float) else str(part)


def phrase(form: str, **parts: Part) -> Phrase:
    """Such as ``phrase("%(who)s is full", who=role)``: the form is what translators find, so it is written out there."""
    return Phrase(form, parts)


def counted(number: int, one: str, many: str, **parts: Part) -> Phrase:
    """Such as ``counted(n, "%(n)s request waits", "%(n)s requests wait")``."""
    return Phrase(one, {"n": number, **parts}, many, number)


def joined(separator: str, found: Iterable[str]) -> str:
    """Several in a row."""
    parts = {str(place): each for place, each in enumerate(found)}
    if len(parts) == 1:
        return parts["0"]
    return Phrase(separator.join(f"%({name})s" for name in parts), parts) if parts else ""


def bare(text: str) -> str:
    """A sentence without its full stop."""
    if isinstance(text, Phrase):
        return Phrase(text.form, text.parts, text.many, text.number, BARE)
    return text.strip().rstrip(".")


def as_phrase(text: str) -> Phrase:
    """What another process has told: ``unpacked``, or a sentence that translators know as a whole, or that nobody knows."""
    found = unpacked(text)
    return found if isinstance(found, Phrase) else Phrase(found)


def capital(text: str) -> str:
    """A sentence that begins as one."""
    return Phrase("%(said)s", {"said": text}, trim=CAPITAL)


def trimmed(text: str, trim: str) -> str:
    if trim == BARE:
        return text.strip().rstrip(".")
    return text[:1].upper() + text[1:] if trim == CAPITAL else text


def cut(text: str, longest: int) -> str:
    """Not more than so many characters: a phrase stays one if it is as short."""
    return text if len(text) <= longest else text[:longest]


def packed(text: str) -> str:
    """As plain text from which ``unpacked`` makes the same; what is no phrase, or too long a one, is its own."""
    if not isinstance(text, Phrase):
        return text
    if not (text.parts or text.many or text.trim):
        return str(text)  # which translators know as a whole
    made = json.dumps(_document(text))
    return made if len(made) <= LONGEST else str(text)


def unpacked(text: str) -> str:
    """Anybody may have written it: what can't be read as a phrase is a text like others."""
    if isinstance(text, Phrase) or not text.startswith(_MARK) or len(text) > LONGEST:
        return text
    try:
        return _read(json.loads(text), _DEPTH)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text


def _document(text: Phrase) -> dict[str, Any]:
    parts = {name: _document(part) if isinstance(part, Phrase) else part for name, part in text.parts.items()}
    made: dict[str, Any] = {"form": text.form}
    if parts:
        made["parts"] = parts
    if text.many:
        made |= {"many": text.many, "number": text.number}
    return made | {"trim": text.trim} if text.trim else made


def _read(found: Any, depth: int) -> Phrase:
    form, many, number, parts = found["form"], found.get("many", ""), found.get("number", 0), found.get("parts", {})
    trim = found.get("trim", "")
    if not (depth and all(isinstance(text, str) for text in (form, many, trim)) and isinstance(number, int)):
        raise ValueError("no phrase")
    read = {}
    for name, part in parts.items():
        if not isinstance(part, dict | str | int | float):
            raise TypeError("no part of a phrase")
        read[name] = _read(part, depth - 1) if isinstance(part, dict) else part
    return Phrase(form, read, many, number, trim)
