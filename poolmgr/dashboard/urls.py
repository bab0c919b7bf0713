"""Addresses of the dashboard. Include them where you like: ``path("pools/", include("poolmgr.dashboard.urls"))``."""

from __future__ import annotations

from django.urls import include, path

from poolmgr.dashboard import addresses
from poolmgr.dashboard.acting import actions, ending, helping, holders, profile
from poolmgr.dashboard.overview import views as overview
from poolmgr.dashboard.pages import process, scrape, target
from poolmgr.dashboard.past import events, history

app_name = "poolmgr"

addresses.register()

urlpatterns = [
    path("", overview.overview, name="dashboard"),
    path("fragment/", overview.fragment, name="fragment"),
    path("api/v1/", include("poolmgr.dashboard.api.urls")),
    path("metrics", scrape.metrics, name="metrics"),
    path("history/", history.history, name="history"),
    path("confirm/", actions.confirm, name="confirm"),
    path("command/", actions.command, name="command"),
    path("help/<str:code>/", helping.advice, name="help"),
    path("events/", events.events, name="events"),
    path("processes/<str:uid>/", process.process, name="process"),
    # Before any other address of a target: its name may have a slash.
    path("targets/<path:target>/settings/foresee/", profile.foresee, name="settings_foresee"),
    path("targets/<path:target>/settings/", profile.settings, name="settings"),
    path("targets/<path:target>/", target.target, name="target"),
    path("holders/<str:uid>/<path:target>/<checkout:checkout>/", holders.holder, name="holder"),
    path("holders/<str:uid>/<path:target>/<checkout:checkout>/<order:order>/", ending.order, name="holder_order"),
]
