"""Tell the fleet that something changed."""

from __future__ import annotations

import logging

from django.db import transaction

from poolmgr.control.access import control_alias
from poolmgr.control.store import StoreDown, get_store

log = logging.getLogger("poolmgr.control")


def notify() -> None:
    """Wake every process. Without a store that pushes, or with Redis away, they find out at their next poll."""
    try:
        get_store().notify()
    except StoreDown as error:
        log.warning("%s; processes find the change at their next poll", error)


def notify_after_commit() -> None:
    """The same once the transaction is committed: before that, nobody could read what changed."""
    transaction.on_commit(notify, using=control_alias(), robust=True)
