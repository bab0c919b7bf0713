"""Addresses of the first version. What it serves stays as it is; what is not compatible will be another version."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.urls import path, reverse

from poolmgr.dashboard import addresses
from poolmgr.dashboard.api import ordering, reading
from poolmgr.dashboard.api.answers import Refused
from poolmgr.dashboard.api.entry import Reader, view
from poolmgr.dashboard.api.entry import reading as read

app_name = "api"

addresses.register()


def index(request: HttpRequest, reader: Reader) -> dict[str, Any]:
    """What there is."""
    here = reverse("poolmgr:api:index")
    listed = (each for each in urlpatterns if each.name not in _UNLISTED)
    return {"version": 1, "addresses": [here + re.sub(r"<\w+:", "<", str(each.pattern)) for each in listed]}


def nothing(request: HttpRequest, reader: Reader, rest: str) -> dict[str, Any]:
    said = "There is no such address; %(index)s lists those that there are."
    raise Refused(said % {"index": reverse("poolmgr:api:index")}, 404)


_UNLISTED = ("index", "nothing")

urlpatterns = [
    path("", read(index), name="index"),
    path("status", read(reading.status), name="status"),
    path("targets/<path:target>", read(reading.target), name="target"),
    path("why/<path:target>", read(reading.why_so), name="why"),
    path("holders", read(reading.held), name="holders"),
    path("holders/<str:uid>/<path:target>/<checkout:checkout>", read(reading.holder), name="holder"),
    path("uses", read(reading.used), name="uses"),
    path("processes", read(reading.all_processes), name="processes"),
    path("processes/<str:uid>", read(reading.process), name="process"),
    path("events", read(reading.events), name="events"),
    path("episodes", read(reading.episodes), name="episodes"),
    path("history/<path:target>", read(reading.history), name="history"),
    path("commands", view({"GET": reading.commands, "POST": ordering.command}), name="commands"),
    path("<path:rest>", read(nothing), name="nothing"),
]
