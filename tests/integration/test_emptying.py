"""What one test writes, no other finds: tests/emptied."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

from tests.emptied.management.commands.flush import KEPT


def filled() -> set[str]:
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        for name in names:
            cursor.execute(f'SELECT EXISTS (SELECT FROM "{name}")')
            if cursor.fetchone() == (False,):
                names = [each for each in names if each != name]
    return set(names)


def write() -> None:
    user = User.objects.create_user("writer")
    user.groups.add(Group.objects.create(name="writers"))
    user.user_permissions.add(Permission.objects.all()[0])


@pytest.mark.usefixtures("transactional_db")
def test_nothing_is_left_but_content_types_and_permissions() -> None:
    permissions = set(Permission.objects.values_list("pk", "codename"))
    write()
    assert filled() > set(KEPT)
    call_command("flush", interactive=False, verbosity=0)
    assert filled() == set(KEPT)
    assert set(Permission.objects.values_list("pk", "codename")) == permissions


@pytest.mark.usefixtures("transactional_db")
def test_what_a_test_took_from_them_is_there_again() -> None:
    before = set(Permission.objects.values_list("codename", "content_type__model"))
    write()
    ContentType.objects.all()[0].delete()
    Permission.objects.all()[0].delete()
    call_command("flush", interactive=False, verbosity=0)
    assert filled() == set(KEPT)
    assert set(Permission.objects.values_list("codename", "content_type__model")) == before
