"""The history of the profiles: every content that a profile ever had, and who gave it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from poolmgr.models.author import AuthorField
from poolmgr.models.moment import MomentField


class ProfileRevision(models.Model):
    """One saved state of a profile. It outlives the profile, so that a deleted one can be restored too.

    ``values`` holds all settings, ``changes`` maps each changed setting to ``[before, after]``.
    """

    target = models.CharField(gettext_lazy("target"), max_length=200)
    role = models.CharField(gettext_lazy("role"), max_length=10, blank=True)
    number = models.PositiveIntegerField(gettext_lazy("revision"))
    values = models.JSONField(gettext_lazy("settings"))
    changes = models.JSONField(gettext_lazy("changes"), default=dict)
    reason = models.CharField(gettext_lazy("why"), max_length=200, blank=True)
    author = AuthorField(gettext_lazy("author"))
    created_at = MomentField(gettext_lazy("at"), auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-number"]
        verbose_name = gettext_lazy("profile revision")
        verbose_name_plural = gettext_lazy("profile revisions")
        constraints = [
            models.UniqueConstraint(fields=["target", "role", "number"], name="poolmgr_revision_numbers_are_unique")
        ]

    def __str__(self) -> str:
        return _("%(target)s (%(role)s) revision %(number)s") % {
            "target": self.target,
            "role": _(self.role or "any role"),
            "number": self.number,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """``values``, or nothing where they were made wrong in SQL."""
        return self.values if isinstance(self.values, dict) else {}

    @property
    def differences(self) -> dict[str, tuple[Any, Any]]:
        """``changes``, as far as they are pairs."""
        changes = self.changes.items() if isinstance(self.changes, dict) else ()
        return {name: (pair[0], pair[1]) for name, pair in changes if isinstance(pair, list) and len(pair) == 2}
