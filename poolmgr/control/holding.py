"""Targets that an operator has stopped, until somebody resumes them."""

from __future__ import annotations

from dataclasses import dataclass

from poolmgr.control.access import control_alias
from poolmgr.models import Command


@dataclass(frozen=True, slots=True)
class Hold:
    """The last order that holds: a pause or a kill, and whose."""

    kind: str
    author: str

    @property
    def is_kill(self) -> bool:
        return self.kind == Command.Kind.KILL


def holds() -> dict[tuple[str, str], Hold]:
    """By target and database, "" for all of them, as far as the last order is no resume. Raises ``django.db.Error``."""
    rows = Command.objects.using(control_alias())
    held = rows.filter(pk__in=rows.holding()).exclude(kind=Command.Kind.RESUME)
    columns = held.values_list("target", "database", "kind", "author")
    return {(target, database): Hold(kind, author) for target, database, kind, author in columns}
