"""Who may hold how many connections of a budget: the ledger that all processes share."""

from __future__ import annotations

from django.db import models


class Ledger(models.Model):
    """One row, whose lock is that of all leases.

    ``turn`` counts the claims. ``total`` is the sum of all counts, by which leases that somebody else has changed are
    noticed. Until ``frozen_until``, and for one target until its time in ``adopting``, nobody is given more than they
    hold. ``lacking`` maps a target to the room that those above their share must make. ``timeline`` is the server's: a
    standby that was promoted may not know the last claims.
    """

    turn = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(default=0)
    frozen_until = models.DateTimeField(null=True)
    adopting = models.JSONField(default=dict)
    lacking = models.JSONField(default=dict)
    timeline = models.CharField(max_length=8, blank=True, default="")

    def __str__(self) -> str:
        return f"turn {self.turn}"


class Lease(models.Model):
    """What one process may hold: ``leases`` maps a target to holds, limit, want, warm and budget, as JSON
    in a text: those of a large fleet are parsed at once.

    ``serial`` counts the process's own claims. After ``until`` it holds nothing. ``length`` is that for which it was given
    the lease, by its own settings.
    """

    uid = models.CharField(max_length=64, primary_key=True)
    serial = models.PositiveBigIntegerField()
    until = models.DateTimeField()
    length = models.DurationField()
    leases = models.TextField()

    def __str__(self) -> str:
        return self.uid
