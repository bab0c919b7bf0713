"""Addresses of a site that has the dashboard and no admin."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def login(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the site's own login")


urlpatterns = [path("pools/", include("poolmgr.dashboard.urls")), path("login/", login)]
