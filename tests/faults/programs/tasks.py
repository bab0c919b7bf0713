"""A Celery application: celery -A tests.faults.programs.tasks worker"""

import os
import time

from celery import Celery

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.faults.programs.settings"
app = Celery("tasks", broker=os.environ.get("BROKER"), backend=os.environ.get("BROKER"))
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, result_expires=60)
#: Runs with different settings don't share a queue.
app.conf.task_default_queue = os.environ.get("QUEUE", "celery")


@app.task
def work(number: int) -> tuple[int, int]:
    """Which process asked, and which server process answered."""
    from django.db import transaction

    from tests.faults.programs.site import query

    if number % 3 == 0:
        with transaction.atomic():
            query()
    time.sleep(0.002)
    return os.getpid(), query()
