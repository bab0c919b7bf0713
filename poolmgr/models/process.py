"""Heartbeats of the fleet where no Redis is configured."""

from __future__ import annotations

from django.db import models

from poolmgr.models.moment import MomentField


class Process(models.Model):
    """The last beat of one process: ``beat`` and ``details`` are a ``ProcessBeat`` as dicts, in two parts."""

    uid = models.CharField(max_length=64, primary_key=True)
    at = MomentField(db_index=True)
    beat = models.JSONField()
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["uid"]
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.uid
