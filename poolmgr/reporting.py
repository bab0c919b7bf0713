"""What Django's pages and mails about errors show of a site: no password, also where no name gives it away."""

from __future__ import annotations

from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from poolmgr.secrets import is_secret


class PasswordFilter(SafeExceptionReporterFilter):
    """Django's, which goes by the names of settings alone, so that a ``BROKER_URL`` or a cache's ``LOCATION`` is shown.

    For ``DEFAULT_EXCEPTION_REPORTER_FILTER``. What poolmgr itself is told needs no filter.
    """

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return self.cleansed_substitute if isinstance(cleansed, str) and is_secret(cleansed) else cleansed
