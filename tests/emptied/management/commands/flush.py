"""Django's `flush`, as every test with `transactional_db` ends with it, without what is most of its time.

Django empties all tables, those too that are empty, and then writes all content types and permissions anew. Here the tables with
rows are emptied, and content types and permissions stay where they are all there.
"""

from typing import Any

from django.apps import apps
from django.core.management.commands import flush
from django.db import connections

KEPT = ("django_migrations", "django_content_type", "auth_permission")
EMPTY = """
DO $$
DECLARE
    candidate text;
    filled boolean;
    found text[] := '{}';
BEGIN
    FOR candidate IN
        SELECT oid::regclass::text FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname NOT IN %s
    LOOP
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || candidate || ')' INTO filled;
        IF filled THEN found := found || candidate; END IF;
    END LOOP;
    -- CASCADE reaches none that is kept: these lead to each other alone.
    IF found <> '{}' THEN EXECUTE 'TRUNCATE ' || array_to_string(found, ', ') || ' CASCADE'; END IF;
END $$
"""


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        with connections[options["database"]].cursor() as cursor:
            cursor.execute("SELECT (SELECT count(*) FROM django_content_type), (SELECT count(*) FROM auth_permission)")
            if cursor.fetchone() == _expected():
                cursor.execute(EMPTY % (KEPT,))
                return
        super().handle(**options)


def _expected() -> tuple[int, int]:
    """How many content types and permissions Django makes."""
    options = [model._meta for model in apps.get_models()]
    return len(options), sum(len(each.default_permissions) + len(each.permissions) for each in options)
