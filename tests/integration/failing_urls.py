"""Pages that fail at the pool and at the fleet store, without a guard before them."""

from typing import Any

from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from poolmgr.control.store import get_store


def query(request: HttpRequest) -> HttpResponse:
    with connections["planted"].cursor() as cursor:
        return HttpResponse(cursor.execute("SELECT 1").fetchone())


def store(request: HttpRequest) -> HttpResponse:
    found: Any = get_store().processes()
    return HttpResponse(found)


urlpatterns = [path("query/", query), path("store/", store)]
