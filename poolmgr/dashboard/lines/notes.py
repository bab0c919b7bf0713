"""What is missing of a picture, beside its verdict."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.control.reporting.spoken import spoken


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is missing: what is lost by it, and what to do."""

    state: str
    title: str
    text: str


def unread_note(unread: str) -> list[Note]:
    """One where ``unread`` says whose report can't be read."""
    if not unread:
        return []
    what = _("Run the same version of poolmgr in every process; the report of one that is gone expires by itself.")
    return [Note("warning", _("Not every process can be read"), f"{spoken(unread)} {what}")]
