"""A site with a target whose budget it shares, and a control database elsewhere; the environment says where, as JSON."""

import json
import os

from tests.pools import database

_NAME = os.environ.get("MEMBER", "nobody")

SECRET_KEY = "only-for-tests-only-for-tests"
INSTALLED_APPS = ["poolmgr"]
USE_TZ = True
POOLMGR = json.loads(os.environ["POOLMGR"])

DATABASES = {
    "default": database(os.environ["CONTROL_URL"], pool={"min_size": 0, "max_size": 2}, application_name=_NAME),
    "work": database(os.environ["WORK_URL"], pool=json.loads(os.environ.get("POOL", "true")), application_name=_NAME),
}
