"""The Celery application: celery -A poolsite worker, celery -A poolsite beat"""

import os
from typing import Any

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
app = Celery("poolsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_finalize.connect
def schedule_the_pools(sender: Celery, **kwargs: Any) -> None:
    # Not at import: the tasks' module needs Django's models, which are not loaded yet.
    from poolmgr.tasks import beat_schedule

    sender.conf.beat_schedule = {**(sender.conf.beat_schedule or {}), **beat_schedule()}
