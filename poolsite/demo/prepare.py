"""Bring a database to where the demo can start: python -m poolsite.demo.prepare, with the site's environment."""

import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connections


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
    try:
        django.setup()
        call_command("migrate", verbosity=0)
        call_command("load_documents")
        provide_operator(os.environ["OPERATOR"], os.environ["OPERATOR_PASSWORD"])
        connections.close_all()
    except (DatabaseError, ImproperlyConfigured, CommandError) as error:
        sys.exit(f"demo: {error}")


def provide_operator(name: str, password: str) -> None:
    """The superuser with this name and password, made or brought to it."""
    # Imported late: Django must be set up first.
    from django.contrib.auth import get_user_model

    users = get_user_model()
    operator, made = users.objects.get_or_create(username=name, defaults={"is_staff": True, "is_superuser": True})
    if made or not operator.check_password(password):
        operator.set_password(password)
        operator.save()


if __name__ == "__main__":
    main()
