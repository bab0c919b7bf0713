"""Which process manages, for the whole fleet, a target whose pools are a server's own."""

from __future__ import annotations

from django.db import models


class Lead(models.Model):
    """Where no Redis is configured, or answers. After ``until`` the lead is anybody's."""

    target = models.CharField(max_length=200, primary_key=True)
    process = models.CharField(max_length=64)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.process} leads {self.target}"
