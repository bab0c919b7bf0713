"""A time in a row, which SQL may set to one that Python has no value for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from datetime import date, datetime

    from django.db.models.expressions import Combinable

    _Time = models.DateTimeField[str | datetime | date | Combinable, datetime]
else:
    _Time = models.DateTimeField


class MomentField(_Time):
    """Reads PostgreSQL's infinity, such as of a command that somebody wants never to expire, as a year far away.

    The driver refuses it, and with it every row of the query: one such command would keep each process from following
    any setting.
    """

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        if compiler.connection.vendor != "postgresql":
            return sql, params
        bounded = f"greatest(least({sql}, '9000-01-01'), '1000-01-01')"
        if not self.null:
            return bounded, params
        # Which are the greatest and the least of what is no null.
        return f"CASE WHEN {sql} IS NOT NULL THEN {bounded} END", (*params, *params)

    def deconstruct(self) -> Any:
        # The column is any time's; migrations need know no more.
        name, _path, args, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, options
