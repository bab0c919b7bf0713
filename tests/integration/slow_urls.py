"""The site with views that wait for another service, with a connection in their hands and without."""

import os
import socket

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from poolsite.urls import urlpatterns as of_the_site


def _waits_for_the_service() -> None:
    with socket.create_connection(("127.0.0.1", int(os.environ["TEST_SERVICE"]))) as service:
        service.recv(1)


def _asks() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM auth_user")


def report(request: HttpRequest, pk: int) -> HttpResponse:
    _asks()
    _waits_for_the_service()
    return HttpResponse("done")


def order(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        _asks()
        _waits_for_the_service()
    return HttpResponse("done")


def quote(request: HttpRequest) -> HttpResponse:
    _waits_for_the_service()
    return HttpResponse("done")


def search(request: HttpRequest) -> HttpResponse:
    _asks()
    return HttpResponse("done")


urlpatterns = [
    path("reports/<int:pk>/", report),
    path("orders/", order),
    path("quotes/", quote),
    path("things/", search),
    *of_the_site,
]
