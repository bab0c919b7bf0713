"""What was wrong, from when until when, and how bad it was."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.models.moment import MomentField
from poolmgr.models.sentences import read


class Episode(models.Model):
    """One trouble of a target or, where that is empty, of the fleet. ``ended_at`` is null while it goes on.

    ``family`` names the trouble, ``code`` the verdict of its worst moment, and ``state``, ``sentence`` and ``place`` (which
    processes) are of that moment too. ``seen_at`` is when it was seen last. ``why`` is what somebody did to the target just
    before it began, if anybody did.
    """

    class State(models.TextChoices):
        WARNING = "warning", _("warning")
        CRITICAL = "critical", _("critical")
        UNKNOWN = "unknown", _("unknown")

    target = models.CharField(_("target"), max_length=200, blank=True)
    family = models.CharField(_("trouble"), max_length=30)
    code = models.CharField(_("verdict"), max_length=30)
    state = models.CharField(_("state"), max_length=8, choices=State.choices)
    sentence = models.CharField(_("sentence"), max_length=500)
    place = models.CharField(_("place"), max_length=200, blank=True)
    began_at = MomentField(_("began"), db_index=True)
    seen_at = MomentField(_("last seen"))
    ended_at = MomentField(_("ended"), null=True, db_index=True)  # type: ignore[misc]  # whose type is that of a time
    figures = models.JSONField(_("figures"), default=dict)
    why = models.CharField(_("just before"), max_length=500, blank=True)
    # The three that are sentences, as models/sentences.py keeps them.
    sentence_told = models.TextField(blank=True, editable=False)
    place_told = models.TextField(blank=True, editable=False)
    why_told = models.TextField(blank=True, editable=False)

    class Meta:
        verbose_name = _("episode")
        verbose_name_plural = _("episodes")
        ordering = ["-began_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["target", "family", "began_at"], name="poolmgr_one_row_per_episode")
        ]

    def __str__(self) -> str:
        return self.sentence

    def said(self, name: str) -> str:
        """Its "sentence", "place" or "why", as a phrase where it is known as one."""
        return read(getattr(self, name), getattr(self, f"{name}_told"))
