"""What OpenTelemetry's exporter needs. Nothing of OpenTelemetry's is imported where it is off."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

from poolmgr.conf import conf
from poolmgr.exceptions import ConfigurationError

logger = logging.getLogger("poolmgr.pool")

#: The first API by which an instrument says which buckets it would like.
_LEAST = (1, 30)


def what_is_missing() -> str:
    """A sentence without its full stop where ``POOLMGR["OPENTELEMETRY"]`` is on and can't be; else "". Never raises."""
    try:
        if not conf().OPENTELEMETRY:
            return ""
        found = version("opentelemetry-api")
    except ConfigurationError:  # which the check of the setting tells
        return ""
    except PackageNotFoundError:
        found = ""
    if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) >= _LEAST:
        return ""
    what = f"opentelemetry-api {found} is too old" if found else "opentelemetry-api is not installed"
    return f"POOLMGR['OPENTELEMETRY'] is True, but {what}: pip install 'poolmgr[opentelemetry]'"


def begin() -> None:
    """Begin to tell, if that is on. Where it can't be, the log says so and the site serves on."""
    if missing := what_is_missing():
        logger.error("%s. The site goes on without.", missing)
        return
    try:
        wanted = conf().OPENTELEMETRY
    except ConfigurationError:
        return
    if wanted:
        from poolmgr.exporters import opentelemetry

        opentelemetry.install()
