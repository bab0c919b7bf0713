"""The site: a document search that runs on managed pools."""

# Loaded with Django, so that every process of the site sends its tasks to this application's broker.
from .celery import app as celery_app

__all__ = ["celery_app"]
