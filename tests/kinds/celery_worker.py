"""What a worker runs: `celery -A tests.kinds.celery_worker worker`."""

import os

from .celery_work import make_app

app = make_app(os.environ["TEST_BROKER"], os.environ["TEST_QUEUE"])
