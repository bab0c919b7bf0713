"""What happened: edits, commands and changes of health, for people who ask afterwards."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.models.author import AuthorField
from poolmgr.models.moment import MomentField
from poolmgr.models.sentences import kept, read


class Event(models.Model):
    """One line of the audit log. ``author`` is empty where no person acted."""

    class Kind(models.TextChoices):
        PROFILE = "profile", _("profile")
        COMMAND = "command", _("command")
        HEALTH = "health", _("health")
        PROCESS = "process", _("process")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    target = models.CharField(_("target"), max_length=200, blank=True)
    author = AuthorField(_("author"))
    message = models.CharField(_("message"), max_length=500)
    message_told = models.TextField(blank=True, editable=False)  # as models/sentences.py has it
    at = MomentField(_("at"), auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return self.message

    @property
    def sentence(self) -> str:
        """The message, as a phrase where it is known as one."""
        return read(self.message, self.message_told)

    @sentence.setter
    def sentence(self, said: str) -> None:
        self.message, self.message_told = kept(said, 500)
