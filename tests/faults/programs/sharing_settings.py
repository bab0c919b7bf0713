"""A site with a target whose budget it shares, and a control database elsewhere; the environment says where, as JSON."""

import json
import os

from tests.pools import parameters

SECRET_KEY = "only-for-tests-only-for-tests"
INSTALLED_APPS = ["poolmgr"]
USE_TZ = True
POOLMGR = json.loads(os.environ["POOLMGR"])


def _database(url: str, **options: object) -> dict[str, object]:
    got = parameters(url)
    return {
        "ENGINE": "poolmgr.backends.postgresql",
        "NAME": got["dbname"],
        "USER": got["user"],
        "PASSWORD": got["password"],
        "HOST": got["host"],
        "PORT": got["port"],
        "OPTIONS": {"application_name": os.environ.get("MEMBER", "nobody"), **options},
    }


DATABASES = {
    "default": _database(os.environ["CONTROL_URL"], pool={"min_size": 0, "max_size": 2}),
    "work": _database(os.environ["WORK_URL"], pool=json.loads(os.environ.get("POOL", "true"))),
}
