"""What an edit would lead to, as its author is told before it is saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

#: From harmless to grave: to know; not to be known; saved only when its author has confirmed it; not saved.
INFO, UNKNOWN, CONFIRM, REFUSE = "info", "unknown", "confirm", "refuse"
SEVERITIES = (INFO, UNKNOWN, CONFIRM, REFUSE)

#: What was confirmed covers what is worse by a quarter at most: the figures are live, and differ a little at each look.
_SLACK = 1.25


@dataclass(frozen=True, slots=True)
class Consequence:
    """``code`` names the rule, ``about`` what it is of (a role, a query), and ``measure`` says how bad it is, in connections,
    requests or a percentage of those; 0 where there is no more or less of it."""

    code: str
    severity: str
    sentence: str
    about: str = ""
    measure: int = 0

    @property
    def token(self) -> str:
        """Names it for a confirmation; without spaces."""
        return f"{self._name}|{self.measure}"

    @property
    def icon(self) -> str:
        """The state whose icon it has."""
        return {CONFIRM: "warning", REFUSE: "critical"}.get(self.severity, self.severity)

    @property
    def _name(self) -> str:
        return f"{self.code}|{quote(self.about, safe=':')}"

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def is_covered(self, confirmed: dict[str, int]) -> bool:
        """Whether a confirmation (by name, how bad it was) is one of this, or of something as bad."""
        before = confirmed.get(self._name)
        return before is not None and self.measure <= max(before + 1, before * _SLACK)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """All that an edit would lead to, the gravest first."""

    consequences: tuple[Consequence, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Consequence]) -> Foreseen:
        return cls(tuple(sorted(found, key=lambda each: -SEVERITIES.index(each.severity))))

    @property
    def refused(self) -> tuple[Consequence, ...]:
        return tuple(each for each in self.consequences if each.severity == REFUSE)

    @property
    def asked(self) -> tuple[Consequence, ...]:
        """What has to be confirmed."""
        return tuple(each for each in self.consequences if each.severity == CONFIRM)

    @property
    def tokens(self) -> str:
        """What a confirmation of all that says, for ``unconfirmed()``."""
        return " ".join(each.token for each in self.asked)

    def unconfirmed(self, tokens: str) -> tuple[Consequence, ...]:
        """What has to be confirmed, and isn't by ``tokens``: it wasn't foreseen then, or not as so bad."""
        confirmed = dict(map(_parsed, tokens.split()))
        return tuple(each for each in self.asked if not each.is_covered(confirmed))


def _parsed(token: str) -> tuple[str, int]:
    name, _, measure = token.rpartition("|")
    return name, int(measure) if measure.isdecimal() and len(measure) < 10 else -1
