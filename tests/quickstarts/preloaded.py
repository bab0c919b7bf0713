"""The application of a master that has used its pool before it forks: a connection is idle, and one is in its hands."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.db import connection  # noqa: E402

import poolmgr  # noqa: E402

with connection.cursor() as cursor:
    cursor.execute("SELECT 'the master''s'")
connection.close()
held = poolmgr.pool().checkout(10)
held.execute("SELECT 'the master''s too'")
