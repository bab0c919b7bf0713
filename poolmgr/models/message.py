"""What processes tell each other about a single checkout, where there is no Redis that does so."""

from __future__ import annotations

from django.db import models


class Message(models.Model):
    """A question to the process with the uid ``process``, or the answer by the same name, of which that is empty.

    After ``until`` nobody reads it.
    """

    process = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=400)
    text = models.TextField()
    until = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["process", "name"], name="poolmgr_one_message_by_name")]

    def __str__(self) -> str:
        return self.name
