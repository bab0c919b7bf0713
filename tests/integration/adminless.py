"""Visits the pages of a site without the admin, and tells as JSON what it saw.

A process of its own: one can't forget django.contrib.admin once it is installed.
"""

import json
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402


def main(name: str, *pages: str) -> None:
    client = Client()
    seen = [client.get("/pools/", follow=True)]
    client.force_login(User.objects.get(username=name))
    seen += [client.get(page) for page in pages]
    seen.append(client.post("/pools/command/", {"kind": "recycle", "target": "default"}, follow=True))
    print(json.dumps([[each.status_code, each.content.decode()] for each in seen]))


if __name__ == "__main__":
    main(*sys.argv[1:])
