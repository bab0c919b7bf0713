"""How a process becomes one that serves the console alone."""

from __future__ import annotations

import django
from django.apps import apps
from django.conf import settings
from django.urls import clear_url_caches, get_resolver, set_urlconf

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import registry

GATE = "poolmgr.console.gate.ConsoleOnly"
LANE = "poolmgr.middleware.ConsoleLaneMiddleware"
URLCONF = "poolmgr.console.urls"

#: The site's own, where ours stands in its place.
site_urlconf = ""


def stand_apart() -> None:
    """Set Django up with the site's settings, and keep all of the site but the console out of reach.

    The site's middleware stays: what it guards the site with (single sign-on, second factors, lists of addresses) guards
    this process too. Its addresses stay known, so that templates may name them; the gate refuses to serve them.
    Raises ``ConfigurationError`` for a site without the app.
    """
    global site_urlconf
    # Direct connections alone, each closed with its request. Without a pool there is no agent, hence no heartbeat.
    registry.abstain()
    settings.MIDDLEWARE = [GATE, *(each for each in settings.MIDDLEWARE if each != LANE)]
    django.setup()
    if not apps.is_installed("poolmgr"):
        raise ConfigurationError("poolmgr.console serves the console of a site that has 'poolmgr' in INSTALLED_APPS")
    if "poolmgr" not in get_resolver().app_dict:
        site_urlconf, settings.ROOT_URLCONF = settings.ROOT_URLCONF, URLCONF
        clear_url_caches()
        set_urlconf(None)
