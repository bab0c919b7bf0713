"""Kinds of target: which of our words a kind honours, and what it says of those that it doesn't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.queries import select_error
from poolmgr.pools.spec import FIELDS, PoolSpec, errors_in, make_spec, plainly

#: The commands that a target of every kind may be given.
COMMANDS = ("recycle", "pause", "resume")


def _no_limits(values: Mapping[str, Any]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Kind:
    """Pure data, without the library: the process that shows the admin may not have it.

    ``name`` is for settings, rows and heartbeats, ``label`` for people. ``package`` is the folder of all that the kind
    needs; its ``finding`` tells which targets the settings name, its ``probe`` looks at a server. ``libraries`` maps each
    module that must be importable to the extra that installs it. ``unit`` is what the server counts, in the plural.

    ``refuses`` maps a setting that the kind can't honour to the sentence for whoever sets it; it keeps its default.
    ``commands`` are those that its targets may be given; ``denies`` maps one of ``COMMANDS`` that makes no sense for the
    kind to the sentence for whoever gives it. ``helps`` has the help texts that differ from those of PostgreSQL;
    ``defaults`` the values that do.
    ``declares`` maps each key that a target of this kind may have in ``POOLMGR["TARGETS"]``, beside ``KIND`` and ``POOL``,
    to what tells whether a value fits (None where the key is missing), and what is allowed, in words. Of a kind without any
    nothing can be declared.
    ``end`` is what a server calls its end of a connection, of which it tells a number. ``prefix`` begins the names
    of those of its targets that aren't declared by name.
    ``query_error`` says what is wrong with a validation query, or nothing.
    ``limits`` says, of all values of a profile, which the kind can't have as they are, each with a sentence.
    ``elsewhere`` says that the pools are a server's own, which keeps to a budget by itself: one process of the fleet leads,
    and manages them for all by ``handing.manager()``. What it tells of times are means.
    ``tells_sessions`` says that a look at its server tells who blocks whom there, and who else is there.
    ``joins`` says that the pools are the library's own, and that its module ``joining`` is told when Django is ready.
    """

    name: str
    label: str
    package: str
    unit: str
    end: str = phrase("connection")
    prefix: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    refuses: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = COMMANDS
    denies: Mapping[str, str] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)
    defaults: PoolSpec = field(default_factory=PoolSpec)
    declares: Mapping[str, tuple[Callable[[Any], bool], str]] = field(default_factory=dict)
    query_error: Callable[[Any], str] = select_error
    limits: Callable[[Mapping[str, Any]], dict[str, str]] = _no_limits
    elsewhere: bool = False
    joins: bool = False
    tells_sessions: bool = False

    def __post_init__(self) -> None:
        assert {*self.refuses, *self.helps} <= {*FIELDS}

    @property
    def honours(self) -> tuple[str, ...]:
        """The settings that a profile of this kind has, in their order."""
        return tuple(name for name in FIELDS if name not in self.refuses)

    def errors_in(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with ``values`` (all of ``FIELDS``): each field's name with a sentence; empty when all is well."""
        found = {**errors_in(values, self.query_error), **self.refusals(values)}
        return {**{name: why for name, why in self.limits(values).items() if name not in found}, **found}

    def refusals(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Of what the kind refuses and ``values`` have otherwise than it stays: each field's name with the sentence."""
        return {
            name: phrase("%(why)s It stays at %(value)s.", why=sentence, value=plainly(kept))
            for name, sentence in self.refuses.items()
            if plainly(values.get(name, kept := getattr(self.defaults, name))) != plainly(kept)
        }

    def make_spec(self, values: Mapping[str, Any], where: str = "") -> PoolSpec:
        """A valid spec from ``values``; fields that are missing get this kind's defaults.

        Raises ``InvalidSpec`` with every field in error.
        """
        return make_spec(values, where, defaults=self.defaults, check=self.errors_in)
