"""Servers that the environment names instead of the embedded ones: do they answer, and if not, why?"""

import psycopg
import redis
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from poolsite import environment

from .processes import ProcessError

ADVICE = "correct it, or unset it to use the embedded server."


def check_postgres(url: str) -> None:
    """Raises ProcessError with one line that holds no secret."""
    try:
        environment.database("DATABASE_URL", engine="", pool={})
        psycopg.connect(url, connect_timeout=5).close()
    except ImproperlyConfigured as error:
        raise ProcessError(str(error)) from None
    except psycopg.Error as error:
        raise ProcessError(f"DATABASE_URL names a server that can't be used ({_line(error)}): {ADVICE}") from None


def check_redis(url: str) -> None:
    """Raises ProcessError with one line that holds no secret."""
    try:
        environment.redis_url("REDIS_URL")
        # Once: the client's own retries take seconds.
        client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        client.ping()
        client.close()
    except ImproperlyConfigured as error:
        raise ProcessError(str(error)) from None
    except (redis.RedisError, ValueError) as error:
        raise ProcessError(f"REDIS_URL names a server that can't be used ({_line(error)}): {ADVICE}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
