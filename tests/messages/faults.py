"""What is wrong with a catalogue, in a sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polib

from tests.messages.catalogue import compiled, merged, plural_forms, read
from tests.messages.gathering import Message

#: A figure's place, as Python's formatting has it, and the percent sign itself.
_FIGURE = re.compile(r"%\(\w+\)[sd]|%%|%[sd]")
_ANY_PERCENT = re.compile(r"%(?:\(\w+\)[sd]|%|[sd])?")


def faults(messages: Sequence[Message], path: Path) -> Iterator[str]:
    """What is to be mended before the catalogue goes out. Raises OSError where there is none."""
    told = read(path)
    wanted = merged(messages, told)
    for entry in wanted:
        yield from (
            f"{why}: “{entry.msgid}” ({entry.occurrences[0][0]})" for why in of_entry(entry, plural_forms(told))
        )
    if str(wanted) != path.read_text():
        yield f"{path.name} is not of this source: scripts/messages makes it anew"
    if not compiled(path).exists() or _said(polib.mofile(str(compiled(path)))) != _said(told):
        yield f"{compiled(path).name} is not of this {path.name}: scripts/messages makes it anew"


def of_entry(entry: polib.POEntry, forms: int) -> Iterator[str]:
    """What is wrong with one translation."""
    if entry.fuzzy:
        yield "the translation is doubtful"
    if not entry.msgid_plural:
        yield from _of_form(entry.msgstr, entry.msgid)
        return
    if set(entry.msgstr_plural) != set(range(forms)):
        yield f"there are {len(entry.msgstr_plural)} plural forms instead of {forms}"
    for form, text in entry.msgstr_plural.items():
        # The form of one thing may name it instead of counting.
        yield from _of_form(text, entry.msgid_plural, *((entry.msgid,) if form == 0 else ()))


def _of_form(text: str, *originals: str) -> Iterator[str]:
    if not text.strip():
        yield "there is no translation"
    elif not any(_figures(text) == _figures(original) for original in originals):
        yield f"the translation has other figures, {', '.join(_figures(text)) or 'none'}"
    elif any("%" in original for original in originals) and _ANY_PERCENT.sub("", text) != _FIGURE.sub("", text):
        yield "the translation has a lonely percent sign"
    elif any(text.endswith("\n") != original.endswith("\n") for original in originals):
        yield "the translation ends its line otherwise"


def _figures(text: str) -> list[str]:
    return sorted(set(_FIGURE.findall(text)))


def _said(catalogue: polib.POFile | polib.MOFile) -> dict[tuple[str | None, str], tuple[str, ...]]:
    """What Django finds in it."""
    found = {
        (entry.msgctxt or None, entry.msgid): tuple(entry.msgstr_plural.values()) or (entry.msgstr,)
        for entry in catalogue
    }
    return {key: texts for key, texts in found.items() if all(texts)}
