"""Run any command on servers that live as long as it does: python -m poolsite.demo.with_servers manage.py shell"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .processes import ProcessError, stop_on_signals
from .servers import EmbeddedPostgres, EmbeddedRedis


def main() -> int:
    stop_on_signals()
    directory = Path(tempfile.mkdtemp(prefix="poolmgr-with-"))
    directory.chmod(0o711)
    postgres, redis = EmbeddedPostgres(directory / "postgres"), EmbeddedRedis(directory / "redis")
    try:
        postgres.start()
        redis.start()
        given = {
            "DJANGO_SETTINGS_MODULE": "poolsite.settings",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "HTTPS": "0",
            "DATABASE_URL": postgres.create_database("site"),
            "REDIS_URL": redis.url(),
        }
        # What the caller has set already stays: --deploy wants another ALLOWED_HOSTS and HTTPS.
        return subprocess.run([sys.executable, *sys.argv[1:]], env={**given, **os.environ}).returncode
    except ProcessError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        redis.stop()
        postgres.destroy()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
