"""For Celery's ``result_backend``: ``poolmgr.targets.redis.celery.ResultBackend+target://results``.

All threads of a process, and all its tasks, share the pool of the target.
"""

from __future__ import annotations

import warnings
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

from celery.app.defaults import DEFAULTS
from celery.backends.redis import RedisBackend

from poolmgr import tasknames  # noqa: F401 - has holders called by their tasks
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.forks import on_fork
from poolmgr.secrets import shown
from poolmgr.targets.redis import finding, handing
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.listening import Client, Listener
from poolmgr.targets.redis.pool import ManagedConnectionPool

_SCHEME = "target://"
_UNCOMPRESSED = "result_compression is set, but the target's URL has decode_responses: results are kept uncompressed"
#: Celery's words for what the URL and the settings of a target say.
_SAID_BY_THE_TARGET = tuple(
    f"redis_{word}"
    for word in (
        *("host", "port", "db", "username", "password", "max_connections", "client_name", "backend_use_ssl"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "retry_on_timeout"),
        *("backend_health_check_interval", "backend_credential_provider"),
    )
)


_lock = RLock()
#: By application, which each of them refers to.
_all: WeakValueDictionary[Any, ResultBackend] = WeakValueDictionary()


class ResultBackend(RedisBackend):  # type: ignore[misc]
    """Celery's Redis backend on the pool of a target. Raises ``ConfigurationError``, ``InvalidSpec``."""

    ResultConsumer = Listener
    # What Celery's has.
    thread_safe: bool
    compression: Any

    _is_made = False

    def __new__(cls, url: str | None = None, **kwargs: Any) -> ResultBackend:
        """An application's one, of which Celery makes several where threads ask for the first at once."""
        with _lock:
            key = id(kwargs["app"]), cls, url
            made = _all.get(key)
            if made is None:
                made = _all[key] = super().__new__(cls)
            return made

    def __init__(self, url: str | None = None, **kwargs: Any) -> None:
        with _lock:
            if not self._is_made:
                self._make(url, **kwargs)
                self._is_made = True

    def _make(self, url: str | None, **kwargs: Any) -> None:
        self._refuse(kwargs["app"].conf)
        self._target = _target_in(url)
        self._managed = _pool_of(self._target)
        super().__init__(**kwargs)
        self.url = url
        # One for all threads, each of which would else hold a subscription of its own.
        self.thread_safe = True
        # Celery would ask its own parameters whether it can compress.
        if self.compression and self._managed.get_encoder().decode_responses:
            warnings.warn(_UNCOMPRESSED, UserWarning, stacklevel=2)
            self.compression = None

    @staticmethod
    def _refuse(conf: Any) -> None:
        for name in _SAID_BY_THE_TARGET:
            if conf.get(name) != DEFAULTS.get(name):
                raise ConfigurationError(
                    f"{name} is set, but results are kept on the pool of a target: leave it out, and say in the target's"
                    " URL how to connect, with redis-py's options after the ?, and in its POOL or profile how many"
                )

    def _get_pool(self, **params: Any) -> ManagedConnectionPool:
        return self._managed

    def _get_client(self) -> type[Client]:
        return Client

    def get(self, key: Any) -> Any:
        """Celery's."""
        self.result_consumer.make_room()
        return super().get(key)

    def mget(self, keys: Any) -> Any:
        """Celery's."""
        self.result_consumer.make_room()
        return super().mget(keys)

    def as_uri(self, include_password: bool = False) -> str:
        """For people, such as in a worker's banner; there is no password in it."""
        return f"{self._target} at {self._managed.address}"


def _after_fork() -> None:
    global _lock
    # A thread that the child doesn't have may have held it.
    _lock = RLock()


on_fork(_after_fork)


def _target_in(url: str | None) -> str:
    target = (url or "").removeprefix(_SCHEME)
    if not url or not url.startswith(_SCHEME) or not target:
        raise ConfigurationError(
            f"result_backend names {shown(url) if url else 'no target'}, but must end in +{_SCHEME} and the name of a target"
            f" of kind redis; {_known()}"
        )
    return target


def _pool_of(target: str) -> ManagedConnectionPool:
    each = declaring.declared(REDIS).get(target)
    if each is not None and (wrong := declaring.error_in(each, [REDIS])):
        raise ConfigurationError(wrong)
    if target not in finding.targets():
        raise ConfigurationError(f"result_backend names {shown(target)}, which is no target of kind redis; {_known()}")
    if not isinstance(found := handing.pool(target), ManagedConnectionPool):
        raise ConfigurationError(
            f"result_backend names {shown(target)}, a Redis Cluster, in which Celery keeps no results"
        )
    return found


def _known() -> str:
    return f"there are: {', '.join(finding.targets()) or 'none'}"
