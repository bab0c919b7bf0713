"""Sentences in the reader's language, for pages. Logs, programs and terminals have them in English, to be searched for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext, override

from poolmgr.metrics.phrases import Part, Phrase, trimmed, unpacked


def spoken(text: str) -> str:
    """What is no phrase, such as somebody's name or a server's own words, stays as it is."""
    said = unpacked(text)
    if not isinstance(said, Phrase):
        return said
    if not said.form:
        return ""
    form = ngettext(said.form, said.many, said.number) if said.many else gettext(said.form)
    if said.parts:
        try:
            form = form % {name: _part(part) for name, part in said.parts.items()}
        except (KeyError, ValueError, TypeError):  # a site's own catalogue may be wrong
            return str(said)
    return trimmed(form, said.trim)


def in_english(wanted: bool = True) -> AbstractContextManager[None]:
    """What is said in the block, where ``wanted``, a program reads, or somebody who searches for it."""
    return override("en") if wanted else nullcontext()


def _part(part: Part) -> str:
    if isinstance(part, str):
        return spoken(part)
    return number_format(f"{part:g}" if isinstance(part, float) else part, force_grouping=True)
