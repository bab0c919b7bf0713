"""The aliases of django-async-backend's tests have our ENGINE, with a pool of its settings."""

import os

os.environ["PEER_ENGINE"] = "poolmgr.backends.async_postgresql"
