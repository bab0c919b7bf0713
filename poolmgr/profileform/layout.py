"""In which order the settings of a profile stand: the few that matter first, the rest folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy


@dataclass(frozen=True, slots=True)
class Section:
    """``title`` is translated when it is shown."""

    title: Any
    fields: tuple[str, ...]
    folded: bool = False


WHOSE = Section(gettext_lazy("Who follows it"), ("target", "role", "enabled"))
SETTINGS = (
    Section(gettext_lazy("Size and waiting"), ("min_size", "max_size", "connection_timeout", "pool_mode")),
    Section(gettext_lazy("Lifetimes"), ("idle_timeout", "max_lifetime", "reconnect_timeout"), folded=True),
    Section(
        gettext_lazy("Validation"),
        ("validation", "validation_query", "validate_after_idle", "keepalive_interval", "health_check_interval"),
        folded=True,
    ),
    Section(gettext_lazy("Sharing"), ("budget", "max_waiting"), folded=True),
    Section(gettext_lazy("Diagnostics"), ("leak_threshold",), folded=True),
)
EDIT = Section(gettext_lazy("This edit"), ("note",))
