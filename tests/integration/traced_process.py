"""A process whose database calls Sentry's SDK traces: the spans of two transactions, as JSON."""

import json
from typing import Any

import sentry_sdk
from django.db import connection, transaction
from sentry_sdk.integrations.django import DjangoIntegration

from tests.faults.programs.site import configure, query

told: list[list[str]] = []


def keep(event: Any, hint: Any) -> None:
    """Each span by its name; None, so that nothing is sent anywhere."""
    told.append([span["description"] for span in event["spans"]])


sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1",
    traces_sample_rate=1.0,
    before_send_transaction=keep,
    auto_enabling_integrations=False,
    integrations=[DjangoIntegration(db_transaction_spans=True)],
)
configure()
for _ in range(2):
    with sentry_sdk.start_transaction(name="a request"):
        query("SELECT 1")
        query("SELECT 2")
        with transaction.atomic():
            query("SELECT 3")
    connection.close()
print(json.dumps(told))
