"""``ENGINE = "poolmgr.backends.postgresql"``."""
