"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PoolmgrConfig(AppConfig):
    name = "poolmgr"
    verbose_name = _("Connection pools")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Both register with what Django loads before the app registry is ready, so neither can be imported earlier.
        from poolmgr import checks  # noqa: F401
        from poolmgr.conf import hide_setting
        from poolmgr.control import agent

        hide_setting()
        agent.install()
