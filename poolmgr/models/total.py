"""The fleet's counters and histograms where no Redis is configured."""

from __future__ import annotations

from django.db import models


class Summed(models.Model):
    """What all processes of a role have counted of a target: ``sums`` as ``metrics/totals.py`` has them."""

    target = models.CharField(max_length=200)
    role = models.CharField(max_length=10)
    at = models.DateTimeField(db_index=True)
    sums = models.JSONField()

    class Meta:
        ordering = ["target", "role"]
        constraints = [models.UniqueConstraint(fields=["target", "role"], name="poolmgr_one_total_per_target_and_role")]

    def __str__(self) -> str:
        return f"{self.target} ({self.role})"


class Told(models.Model):
    """The number of the last gain of a process that was added up."""

    process = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveBigIntegerField()
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.process}: {self.number}"
