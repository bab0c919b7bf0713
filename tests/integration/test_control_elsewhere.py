"""A control database under another alias than "default": the console reads and writes there alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from poolmgr.models import Command
from poolsite.demo.servers import EmbeddedPostgres

from .console import person

PROGRAM = """
import django; django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from poolmgr.control.commanding import commands
from poolmgr.control.following.orders import Orders, orders_for
call_command("migrate", "poolmgr", database="control", verbosity=0)
connection.managed_pool
command = commands.send("resume", "default", "operator")
orders = Orders("host-1-x", lambda: None)
orders.carry_out(orders_for("host-1-x"))
orders.save()
client = Client()
client.force_login(User.objects.get())
answer = client.get(f"/admin/poolmgr/command/{command.pk}/change/")
print(answer.status_code, "host-1-x" in answer.content.decode())
"""


@pytest.fixture
def environment(site_environment: dict[str, str], postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        **site_environment,
        "DJANGO_SETTINGS_MODULE": "tests.integration.control_settings",
        "TEST_POOLMGR": json.dumps({"CONTROL_DATABASE": "control", "AGENT": False}),
        "TEST_CONTROL": postgres.create_database("control").rsplit("/", 1)[1],
    }


@pytest.mark.long
def test_a_command_is_shown_with_what_each_process_said(environment: dict[str, str]) -> None:
    person("operator", superuser=True)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["200", "True"], done.stderr
    assert not Command.objects.exists()
