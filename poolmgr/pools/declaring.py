"""The targets that ``POOLMGR["TARGETS"]`` declares, each measured by what its kind allows.

It needs no kind's library: the process that shows the admin may not have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from poolmgr.conf import Declared, conf
from poolmgr.exceptions import ConfigurationError, InvalidSpec
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import HIDDEN, shown


def declared(kind: Kind) -> dict[str, Declared]:
    """Those of a kind by their names, in the order of the settings; none where POOLMGR is wrong, which its users tell."""
    try:
        found = conf().TARGETS
    except ConfigurationError:
        return {}
    return {name: each for name, each in found.items() if each.kind == kind.name}


def bootstrap(each: Declared, kind: Kind) -> PoolSpec:
    """The settings of its pool before any profile. Raises ``InvalidSpec``."""
    return kind.make_spec(each.pool, f"{each.where}['POOL']")


def bootstrap_of(target: str, kind: Kind) -> PoolSpec | None:
    """The same of a target that is declared; None where they are wrong, which the system checks report."""
    try:
        return bootstrap(declared(kind)[target], kind)
    except InvalidSpec:
        return None


def error_in(each: Declared, kinds: Iterable[Kind]) -> str:
    """What is wrong with a declaration, as a sentence without its full stop, or an empty string."""
    known = {kind.name: kind for kind in kinds}
    declarable = [name for name, kind in known.items() if kind.declares]
    kind = known.get(each.kind)
    if kind is None or not kind.declares:
        return f"{each.where}['KIND'] is {shown(each.kind)}, but must be one of {', '.join(declarable)}"
    given = {**each.rest, **({"URL": each.url} if each.url else {})}
    if unknown := sorted(given.keys() - kind.declares.keys()):
        allowed = ", ".join(("KIND", "POOL", *kind.declares))
        return f"{each.where} has the unknown key {shown(unknown[0])}; a target of kind {kind.name} has {allowed}"
    for key, (fits, allowed) in kind.declares.items():
        if not fits(given.get(key)):
            told = "missing" if key not in given else HIDDEN
            return f"{each.where}[{key!r}] is {told}, but must be {allowed}"
    try:
        bootstrap(each, kind)
    except InvalidSpec as ex:
        return str(ex)
    return f"{each.where}: {missing}" if (missing := missing_library(kind)) else ""


def missing_library(kind: Kind) -> str:
    """Which library of a kind is not installed and what installs it, as a sentence without its full stop; else empty."""
    for module, extra in kind.libraries.items():
        if find_spec(module) is None:
            return f"{kind.label} targets need {module}, which is not installed: pip install 'poolmgr[{extra}]'"
    return ""
