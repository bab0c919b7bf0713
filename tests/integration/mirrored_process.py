"""A test run on two aliases of one database, as Django's runner has it: python -m tests.integration.mirrored_process KIND MODE"""

import json
import os
import sys
import threading
from typing import Any

import django
from django.conf import settings

from tests.pools import database

kind, mode = sys.argv[1:]


def alias(**test: Any) -> dict[str, Any]:
    pool = {"min_size": 2, "max_size": 3, "pool_mode": mode}
    return {**database(os.environ["DATABASE_URL"], pool=pool), "TEST": test}


replica = alias(MIRROR="default") if kind == "mirror" else alias()
if kind == "mirror":
    replica["HOST"] = "localhost" if replica["HOST"] == "127.0.0.1" else "127.0.0.1"
settings.configure(DATABASES={"default": alias(), "replica": replica}, USE_TZ=True, INSTALLED_APPS=[])
django.setup()

from django.db import connections, transaction  # noqa: E402
from django.test.utils import setup_databases, teardown_databases  # noqa: E402


def ask(alias: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        return str(cursor.fetchone()[0])


def elsewhere() -> None:
    ask("replica")
    connections.close_all()


before = [ask(alias) for alias in ("default", "replica")]
old = setup_databases(verbosity=0, interactive=False, parallel=2, serialized_aliases=[])
during = [ask(alias) for alias in ("default", "replica")]
with transaction.atomic("replica"):
    ask("replica")
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
ask("replica")
teardown_databases(old, verbosity=0, parallel=2)
print(json.dumps({"before": before, "during": during, "after": ask("default")}))
