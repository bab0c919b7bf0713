"""What was measured: health checks of each target, and the fleet's figures over time."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.models.moment import MomentField


class HealthCheck(models.Model):
    """One health check of a target from one process. Times in seconds, null where the step was not reached."""

    class State(models.TextChoices):
        OK = "ok", _("ok")
        WARNING = "warning", _("warning")
        CRITICAL = "critical", _("critical")
        UNKNOWN = "unknown", _("unknown")

    target = models.CharField(max_length=200)
    state = models.CharField(max_length=8, choices=State.choices)
    message = models.CharField(max_length=500)
    connect_time = models.FloatField(null=True)
    query_time = models.FloatField(null=True)
    server_used = models.PositiveIntegerField(null=True)
    server_max = models.PositiveIntegerField(null=True)
    server_reserved = models.PositiveIntegerField(null=True)
    ours = models.PositiveIntegerField(null=True)
    behind_pooler = models.BooleanField(_("behind a pooler"), default=False)
    server_version = models.CharField(max_length=50, blank=True)
    at = MomentField(auto_now_add=True, db_index=True)
    #: Whether it found another state than the check before it; True as long as nobody has compared them.
    is_news = True

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["target", "-at"], name="poolmgr_health_by_target")]

    def __str__(self) -> str:
        return f"{self.target}: {self.message}"


class Sample(models.Model):
    """The fleet's figures for a target over one interval, which starts at ``at``.

    One row for each target and interval, so that two samplers at once make one row. Counters are of the interval.
    """

    target = models.CharField(max_length=200)
    at = MomentField()
    processes = models.PositiveIntegerField()
    idle = models.PositiveIntegerField()
    used = models.PositiveIntegerField()
    pending = models.PositiveIntegerField()
    capacity = models.PositiveIntegerField()
    wait_p95 = models.FloatField(null=True)
    use_p95 = models.FloatField(null=True)
    checkouts = models.PositiveBigIntegerField(default=0)
    timeouts = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.UniqueConstraint(fields=["target", "at"], name="poolmgr_one_sample_per_target_and_interval")
        ]

    def __str__(self) -> str:
        return f"{self.target} at {self.at:%Y-%m-%d %H:%M:%S}"
