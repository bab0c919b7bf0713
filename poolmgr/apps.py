"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps
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
        from poolmgr.exporters import requirement
        from poolmgr.targets import known

        hide_setting()
        agent.install()
        known.join()
        requirement.begin()
        if apps.is_installed("django.contrib.auth"):
            # Which needs the models of accounts, and a site without them has no console.
            from django.contrib.auth.signals import user_logged_in

            from poolmgr.lookon import admission, revoking

            user_logged_in.connect(admission.remember_login, dispatch_uid="poolmgr.lookon")
            revoking.install()
