"""The Django admin of poolmgr: profiles to edit, and what happened to read."""

from poolmgr.admin.history import RevisionAdmin
from poolmgr.admin.profiles import ProfileAdmin
from poolmgr.admin.readonly import CommandAdmin, EventAdmin, HealthCheckAdmin

__all__ = ["CommandAdmin", "EventAdmin", "HealthCheckAdmin", "ProfileAdmin", "RevisionAdmin"]
