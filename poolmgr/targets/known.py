"""The targets that the settings name, whatever their kind.

It needs no kind's library: the process that shows the admin may not have it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

from django.conf import settings

from poolmgr.conf import conf
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.declaring import error_in, missing_library
from poolmgr.pools.kinds import Kind
from poolmgr.pools.looking import InnerProber, Prober
from poolmgr.pools.port import Pool
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import shown
from poolmgr.targets.kinds import KINDS
from poolmgr.targets.postgresql.kind import POSTGRESQL


class _Finding(Protocol):
    """The module ``finding`` in the folder of a kind."""

    def targets(self) -> tuple[str, ...]:
        """The names of those that the settings have, in their order."""

    def bootstrap(self, target: str) -> PoolSpec | None:
        """The settings of a pool before any profile; None where they are wrong, which the system checks report."""

    def address(self, target: str) -> str:
        """Where it is, for people, with no secret."""

    def databases(self, target: str) -> tuple[str, ...]:
        """What it manages of a server that has pools of its own; asked of kinds that are ``elsewhere`` alone."""


def _finding(kind: Kind) -> _Finding:
    return cast(_Finding, import_module(f"{kind.package}.finding"))


def known_targets() -> tuple[str, ...]:
    """The names of all targets, kind by kind."""
    return tuple(target for kind in KINDS for target in _finding(kind).targets())


def kind_of(target: str) -> Kind | None:
    """None for a target that the settings don't name."""
    return next((kind for kind in KINDS if target in _finding(kind).targets()), None)


def kinds_by_target() -> dict[str, Kind]:
    """The kind of each target that the settings name."""
    return {target: kind for kind in KINDS for target in _finding(kind).targets()}


def likely_kind_of(target: str) -> Kind:
    """The same, and for a target that was there once, of which a row or a heartbeat is left, the one that its name tells."""
    by_name = (kind for kind in KINDS if kind.prefix and target.startswith(kind.prefix))
    return kind_of(target) or next(by_name, POSTGRESQL)


def kind_named(name: str) -> Kind:
    """Of the name that snapshots have; the first kind for one that only another version knows."""
    return next((kind for kind in KINDS if kind.name == name), POSTGRESQL)


def denied(command: str, target: str, kind: str = "", database: str = "") -> str:
    """Why ``command`` can't be given to a target, as a sentence; empty where it can. ``kind`` is its pool's, if known.

    ``database`` is the one that is meant of a target of several.
    """
    of = kind_named(kind) if kind else likely_kind_of(target)
    if command not in of.commands:
        return phrase(
            "A target of kind %(kind)s knows no %(command)s; it knows %(known)s.",
            kind=of.label,
            command=command,
            known=", ".join(of.commands),
        )
    if database and database not in (there := databases_of(target)):
        known = ", ".join(map(shown, there)) or phrase("none that could be chosen")
        return phrase(
            "“%(target)s” names no database %(database)s; there are: %(known)s.",
            target=target,
            database=shown(database),
            known=known,
        )
    return of.denies.get(command, "")


def databases_of(target: str) -> tuple[str, ...]:
    """Of a target whose pools are a server's own the databases that it names, of which a command may mean one."""
    kind = kind_of(target)
    return _finding(kind).databases(target) if kind and kind.elsewhere else ()


def led_targets() -> tuple[str, ...]:
    """Those whose pools are a server's own, which one process of the fleet manages for all."""
    return tuple(target for kind in KINDS if kind.elsewhere for target in _finding(kind).targets())


def manager(target: str) -> Pool:
    """What manages such a target, for the process that leads. Raises ``ConfigurationError``."""
    handing = _handing(target)
    handing.expect(target)
    return cast(Pool, handing.manager(target))


def files(target: str) -> Any:
    """The module ``files.filing`` in the folder of its kind, which writes the files of a server that keeps its own pools.

    Raises ``ConfigurationError`` where the target is of another kind, or none of this site.
    """
    kind = kind_of(target)
    if kind is None or not kind.elsewhere:
        known = ", ".join(led_targets()) or "none"
        raise ConfigurationError(f"{shown(target)} is no target whose pools are a server's own; there are: {known}")
    return import_module(f"{kind.package}.files.filing")


def join() -> None:
    """Have the kinds whose pools are their library's own come by them, where the settings name a target of theirs.

    Afterwards a thread that asks for targets imports nothing (``pools/forks.py`` says why).
    """
    for kind in KINDS:
        finding = _finding(kind)
        # Where its library is missing there is nothing to come by; the system checks tell.
        if kind.joins and finding.targets() and not missing_library(kind):
            import_module(f"{kind.package}.joining").join()


def bootstrap_spec(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, or the target isn't known."""
    kind = kind_of(target)
    return _finding(kind).bootstrap(target) if kind else None


def address_of(target: str) -> str:
    """Where a target is, for people; empty where it isn't known."""
    kind = kind_of(target)
    return _finding(kind).address(target) if kind else ""


def prepare_look(kind: Kind, target: str) -> None:
    """Import what a look at the server of ``target`` needs, which a thread may then have (``pools/forks.py`` says why).

    Raises whatever keeps the look from an answer too.
    """
    if (prepare := getattr(import_module(f"{kind.package}.probe"), "prepare", None)) is not None:
        prepare(target)


def prober(kind: Kind) -> Prober:
    """What looks at a server of this kind. Raises ``ImportError`` where the kind's library is missing."""
    return cast(Prober, import_module(f"{kind.package}.probe").look)


def inner_prober(kind: Kind) -> InnerProber | None:
    """What looks at a server of this kind over a connection of a pool's; None where nothing does."""
    return cast(InnerProber | None, getattr(import_module(f"{kind.package}.probe"), "look_within", None))


def handed(target: str) -> Any:
    """This process's pool for a target, as the module ``handing`` in the folder of its kind gives it to the site's code.

    Raises ``ConfigurationError`` when the settings name no such target, it has no pool, or its library is not installed.
    """
    return _handing(target).pool(target)


def expect(target: str) -> None:
    """Make what is handed out of a target, by which its library tells what is wrong with the settings. Nothing connects.

    Raises as ``handed()``, and ``MissingLibrary`` where what it needs is not installed.
    """
    handing = _handing(target)
    getattr(handing, "expect", handing.pool)(target)


def handed_by_asyncio(target: str) -> Any:
    """The same for event loops, as ``async_pool`` there gives it, in the kinds that have one."""
    give = getattr(_handing(target), "async_pool", None)
    if give is None:
        kind = kind_of(target) or POSTGRESQL
        raise ConfigurationError(f"{target!r} has no pool for asyncio; targets of kind {kind.label} have none")
    return give(target)


def _handing(target: str) -> Any:
    declared = conf().TARGETS.get(target) if target not in settings.DATABASES else None
    if declared is not None and (wrong := error_in(declared, KINDS)):
        raise ConfigurationError(wrong)
    # Of an alias that has no pool PostgreSQL says why.
    kind = POSTGRESQL if target in settings.DATABASES else kind_of(target)
    if kind is None:
        known = ", ".join(known_targets()) or "none"
        raise ConfigurationError(f"{shown(target)} is no target of this site; there are: {known}")
    if wrong := missing_library(kind):
        raise ConfigurationError(f"{target!r} can't be used: {wrong}")
    return import_module(f"{kind.package}.handing")
