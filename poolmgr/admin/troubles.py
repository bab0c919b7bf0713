"""What episodes are of, in words: rows have the names that programs know."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.models import Episode

#: Of those that are no verdict on pools.
_OTHERS = {
    "server": gettext_lazy("A health check found fault"),
    "connections_lost": gettext_lazy("Connections broke at once"),
    "control_lost": gettext_lazy("The control database is away"),
    "store_lost": gettext_lazy("Redis is away"),
    "unreadable": gettext_lazy("Not every process can be read"),
    "trouble": gettext_lazy("A process has trouble"),
}


def trouble_called(family: str) -> str:
    """Its title; the name itself of one that another version knows."""
    entry = ADVICE.get(family)
    return str(entry.title if entry else _OTHERS.get(family, family))


class TroubleFilter(admin.SimpleListFilter):
    title = gettext_lazy("trouble")
    parameter_name = "family"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Episode.objects.using(control_alias()).order_by("family").values_list("family", flat=True)
        return [(name, trouble_called(name)) for name in names.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset if name is None else queryset.filter(family=name)
