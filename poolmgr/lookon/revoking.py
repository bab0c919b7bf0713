"""Passes that ended before their time: kept in the fleet store, without which there is nothing to look at."""

from __future__ import annotations

import logging
from time import time
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save

from poolmgr.control.store import StoreDown, get_store
from poolmgr.exceptions import ConfigurationError
from poolmgr.lookon.passes import Pass

log = logging.getLogger("poolmgr.console")

_EVERYBODY = "lookon:everybody"


def end_session(held: Pass) -> None:
    """No pass of the session of ``held`` counts any more, whoever has a copy of it."""
    _note(f"lookon:session:{held.session}", held.until - time())


def is_ended(held: Pass) -> bool:
    """Whether ``held``, its session, or all passes of its user were ended. Where nobody can tell, they were."""
    names = (f"lookon:session:{held.session}", f"lookon:user:{held.user}", _EVERYBODY)
    try:
        session, *since = get_store().notes(names)
    except (StoreDown, ConfigurationError):
        return True
    return bool(session) or any(each and held.issued <= float(each) for each in since)


def install() -> None:
    """Have what is changed about accounts in the admin, and who is deleted, end the passes of whom it concerns."""
    if apps.is_installed("django.contrib.admin"):
        post_save.connect(_logged, sender="admin.LogEntry", dispatch_uid="poolmgr.lookon")
    post_delete.connect(_deleted, sender=settings.AUTH_USER_MODEL, dispatch_uid="poolmgr.lookon")


def _logged(instance: Any, **kwargs: Any) -> None:
    changed = instance.content_type.model_class() if instance.content_type_id else None
    if changed is get_user_model():
        _note(f"lookon:user:{instance.object_id}", settings.SESSION_COOKIE_AGE)
    elif changed is Group:
        _note(_EVERYBODY, settings.SESSION_COOKIE_AGE)


def _deleted(instance: Any, **kwargs: Any) -> None:
    if getattr(instance, "is_staff", False):
        _note(f"lookon:user:{instance.pk}", settings.SESSION_COOKIE_AGE)


def _note(name: str, seconds: float) -> None:
    try:
        get_store().note(name, str(time()), max(1.0, seconds))
    except (StoreDown, ConfigurationError) as error:
        log.warning("a pass to look on could not be ended before its time: %s", error)
