"""Errors travel: to another process, as a task's result and a test runner's do, and into a copy."""

import copy
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import poolmgr
from poolmgr.backends.async_postgresql.requirement import ENGINE, what_is_missing
from poolmgr.exceptions import CheckoutError, InvalidSpec


def _subclasses(cls: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def _all_of_ours() -> list[type[BaseException]]:
    """Every exception class of the package, public or not."""
    # GeoDjango's wants a library of the system's that this suite does without; an entry point makes this process its own.
    apart = (".migrations", ".postgis", ".console.wsgi", ".console.asgi", *((ENGINE,) if what_is_missing() else ()))
    for module in pkgutil.walk_packages(poolmgr.__path__, "poolmgr."):
        if not any(part in module.name for part in apart):
            import_module(module.name)
    ours = {each for each in _subclasses(BaseException) if each.__module__.split(".")[0] == "poolmgr"}
    return sorted(ours, key=lambda each: f"{each.__module__}.{each.__qualname__}")


def _made(cls: type[BaseException]) -> BaseException:
    if issubclass(cls, CheckoutError):
        return cls("no connection within 3 s", "reports")
    if issubclass(cls, InvalidSpec):
        return cls({"max_size": "must be at least 1", "pool_mode": "is unknown"}, "DATABASES['reports']")
    return cls("no connection within 3 s")


@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("cls", _all_of_ours(), ids=lambda cls: cls.__qualname__)
def test_every_error_arrives_as_it_was(cls: type[BaseException], travel: Callable[[Any], Any]) -> None:  # P9
    error = _made(cls)
    error.add_note("seen by a worker")
    arrived = travel(error)
    assert type(arrived) is cls
    assert (str(arrived), arrived.args) == (str(error), error.args)
    told = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    assert {name: getattr(arrived, name) for name in told} == told
