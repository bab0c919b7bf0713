"""The database backend for PostgreSQL with PostGIS."""

from __future__ import annotations

from django.contrib.gis.db.backends.postgis.base import DatabaseWrapper as PostGISWrapper

from poolmgr.backends.postgresql.pooled import Pooled


class DatabaseWrapper(Pooled, PostGISWrapper):
    """Django's PostGIS backend on managed pools."""
