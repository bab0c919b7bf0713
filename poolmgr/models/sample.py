"""What was measured: health checks of each target, and the fleet's figures over time."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.metrics.packing import LONGEST
from poolmgr.models.moment import MomentField
from poolmgr.models.sentences import kept, read


class HealthCheck(models.Model):
    """One health check of a target from one process. Times in seconds, null where the step was not reached."""

    class State(models.TextChoices):
        OK = "ok", _("ok")
        WARNING = "warning", _("warning")
        CRITICAL = "critical", _("critical")
        UNKNOWN = "unknown", _("unknown")

    target = models.CharField(_("target"), max_length=200)
    state = models.CharField(_("state"), max_length=8, choices=State.choices)
    message = models.CharField(_("message"), max_length=500)
    message_told = models.TextField(blank=True, editable=False)  # as models/sentences.py has it
    connect_time = models.FloatField(_("connect time"), null=True)
    query_time = models.FloatField(_("query time"), null=True)
    server_used = models.PositiveIntegerField(_("server used"), null=True)
    server_max = models.PositiveIntegerField(_("server max"), null=True)
    server_reserved = models.PositiveIntegerField(_("server reserved"), null=True)
    ours = models.PositiveIntegerField(_("ours"), null=True)
    behind_pooler = models.BooleanField(_("behind a pooler"), default=False)
    server_version = models.CharField(_("server version"), max_length=50, blank=True)
    at = MomentField(_("at"), auto_now_add=True, db_index=True)
    #: Whether it found another state than the check before it; True as long as nobody has compared them.
    is_news = True

    class Meta:
        verbose_name = _("health check")
        verbose_name_plural = _("health checks")
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["target", "-at"], name="poolmgr_health_by_target")]

    def __str__(self) -> str:
        return f"{self.target}: {self.message}"

    @property
    def sentence(self) -> str:
        """The message, as a phrase where it is known as one."""
        return read(self.message, self.message_told)

    @sentence.setter
    def sentence(self, said: str) -> None:
        self.message, self.message_told = kept(said, 500)


class Sample(models.Model):
    """What was so with the pools of a target in the processes of one role, for an interval from ``at``: a ``Period`` of
    ``metrics/periods.py``, whose words these are.

    ``tier`` says how long the interval is: 0 for ``SAMPLE_INTERVAL``, the others as ``metrics/tiers.py`` has them. The
    three distributions are as ``metrics/packing.py`` has them, and ``seconds`` is null where the counters could not be
    read. One row for each interval, so that two samplers at once make one.
    """

    tier = models.PositiveSmallIntegerField()
    at = MomentField()
    target = models.CharField(max_length=200)
    role = models.CharField(max_length=10)
    looks = models.PositiveIntegerField()
    used = models.FloatField()
    idle = models.FloatField()
    pending = models.FloatField()
    used_most = models.PositiveIntegerField()
    pending_most = models.PositiveIntegerField()
    full = models.PositiveIntegerField()
    capacity = models.PositiveIntegerField()
    processes = models.PositiveIntegerField()
    seconds = models.FloatField(null=True)
    checkouts = models.PositiveBigIntegerField(default=0)
    timeouts = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    created = models.PositiveBigIntegerField(default=0)
    create_errors = models.PositiveBigIntegerField(default=0)
    lost = models.PositiveBigIntegerField(default=0)
    wait = models.CharField(max_length=LONGEST, blank=True)
    use = models.CharField(max_length=LONGEST, blank=True)
    create = models.CharField(max_length=LONGEST, blank=True)
    server_used = models.PositiveIntegerField(null=True)
    server_most = models.PositiveIntegerField(null=True)
    server_ours = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["-at"]
        constraints = [
            # In the order in which they are read, rolled up and deleted, so that one index does for all.
            models.UniqueConstraint(fields=["tier", "at", "target", "role"], name="poolmgr_one_sample_per_interval")
        ]

    def __str__(self) -> str:
        return f"{self.target} ({self.role}) at {self.at:%Y-%m-%d %H:%M:%S}"


class SampledTotal(models.Model):
    """What of the fleet's totals is in samples: ``sums`` of a target and role as they were ``at`` its last sample."""

    target = models.CharField(max_length=200)
    role = models.CharField(max_length=10)
    at = MomentField()
    sums = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["target", "role"], name="poolmgr_one_sampled_total_per_target_and_role")
        ]

    def __str__(self) -> str:
        return f"{self.target} ({self.role})"


class SampleClock(models.Model):
    """The one row that says until when there are samples; ``memory`` names the store's that their totals were read from, and
    ``counted_at`` when.

    Whoever moves ``at`` forward takes the samples of that interval, and nobody else does.
    """

    at = MomentField()
    counted_at = MomentField(null=True)  # type: ignore[misc]  # whose type is that of a time
    memory = models.CharField(max_length=40, blank=True)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
