"""A language's catalogue: the file that people translate in, and the one beside it that Django reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polib

from tests.messages.gathering import ROOT, Message

LOCALE = ROOT / "poolmgr" / "locale"
_WIDTH = 120


def catalogues(locale: Path = LOCALE) -> list[Path]:
    """The .po of each language there is."""
    return sorted(locale.glob("*/LC_MESSAGES/django.po"))


def read(path: Path) -> polib.POFile:
    return polib.pofile(str(path), wrapwidth=_WIDTH)


def merged(messages: Iterable[Message], old: polib.POFile) -> polib.POFile:
    """A catalogue of exactly these messages, with the translations that there are already; what is new has none."""
    known = {(entry.msgctxt, entry.msgid): entry for entry in old}
    made = polib.POFile(wrapwidth=_WIDTH)
    made.header, made.metadata = old.header, old.metadata
    forms = plural_forms(old)
    for message in messages:
        made.append(_entry(message, known.get(message.key), forms))
    return made


def _entry(message: Message, known: polib.POEntry | None, forms: int) -> polib.POEntry:
    entry = polib.POEntry(
        msgctxt=message.context,
        msgid=message.text,
        msgid_plural=message.plural,
        # Files without lines: else every edit of the source would be one of each catalogue.
        occurrences=[(place, "") for place in message.places],
        flags=["python-format"] if "%" in message.text + message.plural else [],
    )
    if known is not None:
        entry.tcomment = known.tcomment
        entry.flags += ["fuzzy"] if known.fuzzy else []
    if message.plural:
        told = known.msgstr_plural if known is not None else {}
        entry.msgstr_plural = {form: told.get(form, "") for form in range(forms)}
    elif known is not None:
        entry.msgstr = known.msgstr
    return entry


def plural_forms(catalogue: polib.POFile) -> int:
    """How many forms of a word the language has for numbers, as the catalogue's head says; 2 where it says nothing."""
    said = catalogue.metadata.get("Plural-Forms", "").partition("nplurals=")[2].partition(";")[0].strip()
    return int(said) if said.isdigit() else 2


def compiled(path: Path) -> Path:
    return path.with_suffix(".mo")


def write(catalogue: polib.POFile, path: Path) -> None:
    """Writes both files. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    catalogue.save(str(path))
    catalogue.save_as_mofile(str(compiled(path)))
