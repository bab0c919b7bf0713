"""The agent of this process: when it starts, and when it must stop."""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Any

from django.apps import apps
from django.db.models.signals import post_migrate

from poolmgr.conf import conf
from poolmgr.control.access import control_alias
from poolmgr.control.push import notify
from poolmgr.control.rounds import Agent
from poolmgr.control.sharing.ledger import open_ledger
from poolmgr.control.store import prepare
from poolmgr.control.tally import Tally
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here, on_fork

log = logging.getLogger("poolmgr.agent")

_agent: Agent | None = None
_tally = Tally()
_lock = threading.Lock()
_installed = False
_aside = False


def install() -> None:
    """Have the registry start an agent with the first pool of each process. Called once, when Django is ready."""
    global _installed
    if _installed:
        return
    _installed = True
    prepare()
    registry.on_start(start)
    registry.on_quiesce(_quiesce)
    on_fork(_after_fork)
    post_migrate.connect(_migrated, sender=apps.get_app_config("poolmgr"), dispatch_uid="poolmgr.agent")
    # After the registry's own hook, hence run before it: the farewell still needs a connection.
    atexit.register(stop)
    registry.hold_back()


def start() -> None:
    """Start this process's agent, if it has none; never blocks and never raises."""
    global _agent
    try:
        if _aside or not conf().AGENT:
            registry.lift_limits()
            return
        with _lock:
            if _agent is None or not _agent.alive:
                _agent = Agent(_tally)
                _agent.start()
    except Exception:  # the first query of the process must not fail for want of a console
        log.exception("the agent could not start: this process follows no profile and reports nothing")
        registry.lift_limits()


def stand_aside() -> None:
    """Have this process never start an agent: for one that only looks at the fleet, and is no part of it."""
    global _aside
    _aside = True


def stop(timeout: float = 2.0) -> None:
    """Stop this process's agent, if it has one, within about ``timeout`` seconds."""
    global _agent
    if not here:
        attend()
    with _lock:
        agent, _agent = _agent, None
    if agent is not None:
        agent.stop(timeout)


def _quiesce(target: str) -> None:
    agent = _agent
    if agent is not None and agent.alive:
        agent.quiesce(target)


def _after_fork() -> None:
    global _agent, _lock, _tally
    # The thread did not come along, and the lock may be held for ever. What the parent counted is the parent's to tell.
    _agent, _lock, _tally = None, threading.Lock(), Tally()
    registry.hold_back()


def _migrated(plan: Any = None, using: str = "", **kwargs: Any) -> None:
    # Processes look for missing tables rarely; flushing a database also sends this signal, with an empty plan.
    if plan:
        if using == control_alias():
            open_ledger()
        notify()
