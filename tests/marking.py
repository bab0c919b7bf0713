"""A language in which each translated text stands between marks, and what of a page a reader sees without."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation
from django.utils.safestring import SafeData, SafeString

BEGIN, END = "⟦", "⟧"

#: Where something is put in. What stands there was translated by itself, or is nothing to translate.
_PLACE = re.compile(r"(%\(\w+\)[-+0-9.]*[a-z]|%[-+0-9.]*[sdrif]|\{\w*(?::[^}]*)?\}|%%)")
#: What a reader sees of an element besides its text; the last are shown by a style or a script of ours.
_SEEN = {
    "title", "alt", "aria-label", "aria-description", "placeholder", "label", "data-label", "data-updated", "data-now",
    "data-lost", "data-out", "data-hidden", "data-old", "data-away", "data-blind", "data-last", "data-until",
    "data-nothing", "data-step",
}  # fmt: skip
#: Names, statements and keys; and what nobody reads.
_CODE = {"code", "kbd", "pre", "samp"}
_UNSEEN = {"script", "style"}
_WORD = re.compile(r"[^\W\d_]+")


def marked(message: Any) -> Any:
    """``message`` with marks around each part that would be translated."""
    text = str(message)
    made = "".join(part if not part or _PLACE.fullmatch(part) else f"{BEGIN}{part}{END}" for part in _PLACE.split(text))
    # Django cuts its own words for these at the commas.
    made = made.replace(",", f"{END},{BEGIN}") if text == "yes,no,maybe" else made
    return SafeString(made) if isinstance(message, SafeData) else made


def mark_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the end of the test, whatever is translated comes out in marks."""
    ways: dict[str, Callable[..., Any]] = {
        "gettext": marked,
        "pgettext": lambda context, message: marked(message),
        "ngettext": lambda one, many, number: marked(one if number == 1 else many),
        "npgettext": lambda context, one, many, number: marked(one if number == 1 else many),
    }
    for name, way in ways.items():
        monkeypatch.setattr(translation._trans, name, way)


class _Reader(HTMLParser):
    """Collects what stands outside the marks: a text with the path of its element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.depth = 0
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name, value in given.items():
            shown = name in _SEEN or (name == "value" and given.get("type") in ("submit", "button", "reset"))
            if shown and value:
                self.found.append(outside(value)[0])
        if tag not in {"br", "img", "input", "link", "meta", "hr", "path", "rect", "circle", "line", "col", "wbr"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if _UNSEEN & {*self._open}:
            return
        text, self.depth = outside(data, self.depth)
        if not _CODE & {*self._open}:
            self.found.append(text)


def outside(text: str, depth: int = 0) -> tuple[str, int]:
    """What of a text stands outside the marks, of which so many are open at its begin, and how many are at its end."""
    kept = []
    for part in re.split(f"([{BEGIN}{END}])", text):
        if part in (BEGIN, END):
            depth += 1 if part == BEGIN else -1
        elif not depth:
            kept.append(part)
    return " ".join(kept), depth


def left_out(page: str, data: Iterable[str]) -> set[str]:
    """What a reader sees in letters that is neither marked nor ``data``, whose words count whole."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.depth == 0, "a translated text was cut"
    known = re.compile("|".join(rf"(?<!\w){re.escape(each)}(?!\w)" for each in sorted(data, key=len, reverse=True)))
    pieces = (" ".join(known.sub(" ", piece).split()) for piece in reader.found)
    return {piece for piece in pieces if _WORD.search(piece)}
