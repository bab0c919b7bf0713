"""Addresses of the console's own process where the site has none of the dashboard: its own, and the dashboard at /pools/."""

from __future__ import annotations

from importlib import import_module

from django.urls import include, path

from poolmgr.console import apart

# Its patterns and not an include() of them: languages in front of addresses are allowed at the root alone.
_of_site = import_module(apart.site_urlconf).urlpatterns if apart.site_urlconf else ()

urlpatterns = [path("pools/", include("poolmgr.dashboard.urls")), *_of_site]
