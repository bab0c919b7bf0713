"""Commands to the fleet, and what became of each in every process."""

from __future__ import annotations

from collections.abc import Collection

from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.metrics.phrases import Phrase, as_phrase, phrase
from poolmgr.models.author import AuthorField
from poolmgr.models.moment import MomentField
from poolmgr.models.sentences import kept, read


class Commands(models.QuerySet["Command"]):
    def holding(self, kinds: Collection[str] = ()) -> list[int]:
        """The keys of the pauses, resumes and kills that hold: of each database the last, unless the whole had one since.

        Or of other ``kinds``.

        Raises ``django.db.Error``.
        """
        rows = self.filter(kind__in=kinds or Command.HOLDS).order_by().values_list("target", "database")
        last = {(target, database): pk for target, database, pk in rows.annotate(last=models.Max("id"))}
        return sorted(pk for (target, _), pk in last.items() if pk >= last.get((target, ""), 0))


class Command(models.Model):
    """An order to the pools of a target: in all processes, or in the one whose uid is ``process``.

    Of a target that is a PgBouncer it may be of one ``database`` alone, which is empty for all that the target names.

    A process carries it out once, until ``expires_at``; ``pause`` holds until ``resume``. A ``process`` of ``ROLLING``
    means one process after another, each through a command of its own; no process takes it for itself.
    What cuts clients off is carried out once in the whole fleet; after ``kill`` the target is paused until ``resume``.
    """

    ROLLING = "rolling"

    class Kind(models.TextChoices):
        RECYCLE = "recycle", _("recycle")
        PAUSE = "pause", _("pause")
        RESUME = "resume", _("resume")
        KILL = "kill", _("kill")
        DISABLE = "disable", _("disable")
        ENABLE = "enable", _("enable")

    #: The last of these of a target, or of its database, holds: it is paused or open.
    HOLDS = frozenset({Kind.PAUSE, Kind.RESUME, Kind.KILL})
    #: These need a permission of their own.
    CUTS = frozenset({Kind.KILL, Kind.DISABLE, Kind.ENABLE})

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    target = models.CharField(_("target"), max_length=200)
    database = models.CharField(
        _("database"), max_length=63, blank=True, help_text=_("Of a PgBouncer; empty for all of its target.")
    )
    process = models.CharField(_("process"), max_length=64, blank=True, help_text=_("Empty for all processes."))
    author = AuthorField(_("author"))
    created_at = MomentField(_("at"), auto_now_add=True, db_index=True)
    expires_at = MomentField(_("expires"))

    objects = Commands.as_manager()

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        ordering = ["-id"]
        permissions = [
            ("cut_off_clients", "Can kill, disable and enable databases of a PgBouncer"),
            ("end_sessions", "Can cancel statements and end sessions of who holds connections"),
        ]

    def __str__(self) -> str:
        return str(self.sentence)

    @property
    def sentence(self) -> Phrase:
        kind = as_phrase(str(self.kind))
        if self.process == self.ROLLING:
            return phrase("%(kind)s %(place)s, one process after another", kind=kind, place=self.place)
        if self.process:
            return phrase("%(kind)s %(place)s in process %(uid)s", kind=kind, place=self.place, uid=self.process)
        return phrase("%(kind)s %(place)s in all processes", kind=kind, place=self.place)

    @property
    def place(self) -> str:
        """The target, and which database of it where it is one alone."""
        if self.database:
            return phrase("%(target)s, database %(database)s,", target=self.target, database=self.database)
        return self.target


class Acknowledgement(models.Model):
    """What one process says of one command; of a rolling one, what its driver says of that process.

    The empty process stands for the end of a rolling command.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    command = models.ForeignKey(
        Command, on_delete=models.CASCADE, related_name="acknowledgements", verbose_name=_("command")
    )
    process = models.CharField(_("process"), max_length=64)
    state = models.CharField(_("state"), max_length=8, choices=State.choices)
    message = models.CharField(_("message"), max_length=500, blank=True)
    message_told = models.TextField(blank=True, editable=False)  # as models/sentences.py has it
    at = MomentField(_("at"), auto_now=True)

    class Meta:
        verbose_name = _("answer")
        verbose_name_plural = _("answers")
        constraints = [
            models.UniqueConstraint(fields=["command", "process"], name="poolmgr_one_acknowledgement_per_process")
        ]

    def __str__(self) -> str:
        return self.process

    @property
    def sentence(self) -> str:
        """The message, as a phrase where it is known as one."""
        return read(self.message, self.message_told)

    @sentence.setter
    def sentence(self, said: str) -> None:
        self.message, self.message_told = kept(said, 500)
