"""The desired settings of a target's pools, as an operator edits them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from poolmgr.conf import ROLES
from poolmgr.metrics.phrases import Phrase, as_phrase, phrase
from poolmgr.models.author import AuthorField
from poolmgr.models.moment import MomentField
from poolmgr.pools.spec import FIELDS, POOL_MODES, VALIDATIONS, PoolSpec
from poolmgr.targets.known import likely_kind_of

_D = PoolSpec()
#: Of what one process manages for all, whatever its role.
ONE_PROFILE = phrase("It is managed by whichever process leads, whatever its role: leave this at “any role”.")


class PoolProfile(models.Model):
    """Desired settings for a target, in processes of one role or of any.

    A profile of a role wins over one of any role; without either, the bootstrap settings rule.
    ``revision`` goes up with every change of content, whoever makes it.
    """

    class Role(models.TextChoices):
        ANY = "", _("any role")
        WEB = ROLES[0], _("web")
        WORKER = ROLES[1], _("worker")
        COMMAND = ROLES[2], _("command")

    target = models.CharField(
        _("target"),
        max_length=200,
        help_text=_(
            "What this pool connects to: a database alias such as “default”, a cache such as “cache:default”, or a name in "
            "POOLMGR['TARGETS']."
        ),
    )
    role = models.CharField(
        _("role"),
        max_length=10,
        choices=Role.choices,
        default=Role.ANY,
        blank=True,
        help_text=_("Which processes follow this profile. A profile for one role wins over one for any role."),
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Without this, the profile is kept but no process follows it. Live.")
    )

    pool_mode = models.CharField(
        _("pool mode"),
        max_length=12,
        choices=[(mode, mode) for mode in POOL_MODES],
        default=_D.pool_mode,
        help_text=_(
            "When a connection goes back to the pool: “session” at the end of the request, “transaction” as soon as no "
            "transaction, cursor or session state needs it, “statement” the same with transactions of several "
            "statements refused. Default session. Live: a request under way finishes in the mode it began with."
        ),
    )
    min_size = models.PositiveIntegerField(
        _("min size"),
        default=_D.min_size,
        help_text=_("Connections kept warm in each process. Default 2. Raise it when bursts wait for connects. Live."),
    )
    max_size = models.PositiveIntegerField(
        _("max size"),
        default=_D.max_size,
        help_text=_(
            "The most connections of each process. Default 10. Raise it when requests wait and the server has room; "
            "waiting requests are served at once. Lowering closes idle connections now and used ones as they return. Live."
        ),
    )
    budget = models.PositiveIntegerField(
        _("budget"),
        default=_D.budget,
        help_text=_(
            "The most connections of the whole fleet to this target; 0 sets no limit. Default 0. Where there "
            "are more processes than that, each may hold one. A tenth is kept for processes that start. Live."
        ),
    )
    connection_timeout = models.FloatField(
        _("connection timeout"),
        default=_D.connection_timeout,
        help_text=_(
            "Seconds that a request waits for a connection before it fails with “pool exhausted”. Default 30. Live."
        ),
    )
    max_waiting = models.PositiveIntegerField(
        _("max waiting"),
        default=_D.max_waiting,
        help_text=_(
            "Requests that may wait at once in each process; more fail at once. 0 sets no limit. Default 0. Live."
        ),
    )
    idle_timeout = models.FloatField(
        _("idle timeout"),
        default=_D.idle_timeout,
        help_text=_(
            "Seconds after which an unused connection above min_size is closed; 0 keeps it. Default 600. Live."
        ),
    )
    max_lifetime = models.FloatField(
        _("max lifetime"),
        default=_D.max_lifetime,
        help_text=_(
            "Seconds after which a connection is replaced by a fresh one; 0 keeps it. Default 3600. Set it below what "
            "firewalls or the server allow. Live."
        ),
    )
    reconnect_timeout = models.FloatField(
        _("reconnect timeout"),
        default=_D.reconnect_timeout,
        help_text=_("Seconds for which a lost connection is re-tried with growing pauses. Default 300. Live."),
    )
    validation = models.CharField(
        _("validation"),
        max_length=6,
        choices=[(kind, kind) for kind in VALIDATIONS],
        default=_D.validation,
        help_text=_(
            "How a connection is checked before it is handed out: “socket” looks whether the server hung up (about a "
            "microsecond), “query” also runs the validation query every time, “off” does neither. Default socket. Live."
        ),
    )
    validation_query = models.CharField(
        _("validation query"),
        max_length=500,
        default=_D.validation_query,
        help_text=_(
            "One SELECT that shows that a connection works. It runs in a transaction that only reads and is rolled back, "
            "so that it leaves nothing behind. Default SELECT 1. Live."
        ),
    )
    validate_after_idle = models.FloatField(
        _("validate after idle"),
        default=_D.validate_after_idle,
        help_text=_(
            "A connection unused for this many seconds also gets the validation query before it is handed out; 0 never. "
            "Default 30. Live."
        ),
    )
    keepalive_interval = models.FloatField(
        _("keepalive interval"),
        default=_D.keepalive_interval,
        help_text=_(
            "Idle connections get the validation query every so many seconds, against firewalls that drop silent ones; "
            "0 never. Default 0. Live."
        ),
    )
    leak_threshold = models.FloatField(
        _("leak threshold"),
        default=_D.leak_threshold,
        help_text=_(
            "A connection in use for this many seconds is logged once with its holder's stack; 0 never. Default 0. Live."
        ),
    )
    health_check_interval = models.FloatField(
        _("health check interval"),
        default=_D.health_check_interval,
        help_text=_("Seconds between the scheduled health checks of this target. Default 30. Live."),
    )

    revision = models.PositiveIntegerField(_("revision"), default=0, editable=False)
    updated_at = MomentField(_("at"), auto_now=True)
    updated_by = AuthorField(_("author"), editable=False)

    class Meta:
        ordering = ["target", "role"]
        verbose_name = _("pool profile")
        verbose_name_plural = _("pool profiles")
        permissions = [("read_statements", "Can read the statements and stacks of who holds connections")]
        constraints = [
            models.UniqueConstraint(
                fields=["target", "role"],
                name="poolmgr_one_profile_per_target_and_role",
                violation_error_message=_("There is already a profile for this target and role; edit that one."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target} ({self.get_role_display()})"

    @property
    def called(self) -> Phrase:
        """As a page calls it in its reader's language."""
        return phrase("%(target)s (%(role)s)", target=self.target, role=as_phrase(self.role or "any role"))

    def values(self) -> dict[str, Any]:
        """The settings as a dict of ``PoolSpec``'s fields."""
        return {name: getattr(self, name) for name in FIELDS}

    def spec(self) -> PoolSpec:
        """The settings as a valid ``PoolSpec``. Raises ``InvalidSpec`` for a row that was made wrong in SQL."""
        where = phrase("profile %(number)s (%(profile)s)", number=str(self.pk), profile=self.called)
        return likely_kind_of(self.target).make_spec(self.values(), where=where)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        try:
            super().clean_fields(exclude)
        except ValidationError as error:
            # Of a number that is too large for the column too, clean() says what the setting allows: one reason is enough.
            rest = {name: found for name, found in error.error_dict.items() if name not in self._errors()}
            if rest:
                raise ValidationError(rest) from None

    def clean(self) -> None:
        if found := self._errors():
            raise ValidationError(dict(found))

    def _errors(self) -> dict[str, str]:
        known = {name: value for name, value in self.values().items() if value is not None}
        kind = likely_kind_of(self.target)
        found = kind.errors_in({**kind.defaults.to_dict(), **known})
        return {**found, "role": ONE_PROFILE} if kind.elsewhere and self.role else found
