"""Three tenants with notes of their own: python -m tests.quickstarts.customers.setup"""

import django

django.setup()

from django_tenants.utils import schema_context  # noqa: E402

from tests.quickstarts.customers.models import Client, Domain  # noqa: E402
from tests.quickstarts.notes.models import Note  # noqa: E402

for name in ("public", "acme", "globex", "initech"):
    client = Client.objects.create(schema_name=name, name=name)
    Domain.objects.create(domain=f"{name}.site", tenant=client, is_primary=True)
    if name != "public":
        with schema_context(name):
            Note.objects.bulk_create([Note(text=name) for _ in range(30)])
