"""What of a site's settings begins transactions: statement mode would refuse them."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import caches
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import connections, router
from django.utils.translation import gettext as _

from poolmgr.control.reporting.spoken import spoken
from poolmgr.metrics.phrases import phrase


def what_transacts(target: str) -> tuple[str, ...]:
    """What the settings tell, as sentences without their full stop; code that calls ``atomic()`` they can't tell of."""
    if target not in connections.settings:  # a PgBouncer, behind which there may be anything
        return ()
    found: list[str] = []
    if not connections[target].settings_dict["AUTOCOMMIT"]:
        found.append(phrase("AUTOCOMMIT is off, so that every query fails"))
    if connections[target].settings_dict["ATOMIC_REQUESTS"]:
        found.append(phrase("ATOMIC_REQUESTS is on, so that every request fails"))
    if _sessions_in(target):
        found.append(phrase("SESSION_ENGINE keeps sessions in it, so that no session is saved and nobody can log in"))
    cached = [repr(name) for name in _caches_in(target)]
    found += [phrase("CACHES[%(name)s] is kept in it, so that nothing new is cached", name=each) for each in cached]
    return tuple(found)


def _sessions_in(target: str) -> bool:
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    model_of = getattr(store, "get_model_class", None)
    if model_of is None:
        return False
    try:
        return router.db_for_write(model_of()) == target
    except RuntimeError:
        return False  # the default engine of a site that has no sessions: its model is in no installed app


def _caches_in(target: str) -> list[str]:
    return [
        name
        for name in settings.CACHES
        if isinstance(cache := caches[name], BaseDatabaseCache)
        and router.db_for_write(cache.cache_model_class) == target
    ]


def statement_said(target: str, transacts: Collection[str], is_database: bool) -> str:
    """What statement mode does to a site that has ``target``, of which the settings tell what ``transacts``."""
    if not is_database:
        return _("Statement mode refuses every transaction of several statements on “%(target)s”.") % {"target": target}
    said = _(
        "Statement mode refuses every transaction on “%(target)s”: atomic(), and what Django does inside one, such as "
        "bulk_create(), get_or_create() and most deletes. Admin, dashboard and management commands are exempt."
    ) % {"target": target}
    known = "; ".join(map(spoken, transacts))
    return " ".join(filter(None, (said, known and _("On this site: %(known)s.") % {"known": known})))
