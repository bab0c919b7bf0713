"""One look at a Redis server through a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic, perf_counter
from typing import Any

from poolmgr.metrics.health import Verdict
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.looking import Look
from poolmgr.targets.redis.diagnosis import diagnose
from poolmgr.targets.redis.handing import pool as pool_of
from poolmgr.targets.redis.library import redis

#: A server with more clients than that is not asked for each of them.
_MOST_LISTED = 5_000
#: Where the first that is there says what the server is: Valkey tells, beside its own, which version of Redis it is like.
_PRODUCTS = {"valkey_version": "Valkey", "redis_version": "Redis"}


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it."""
    failed = None
    try:
        _look(target, look, query, deadline)
    except (redis.RedisError, OSError) as ex:
        found = diagnose(ex)
        failed = found.cls(found.sentence, target)
    if failed is not None:
        raise failed


def _look(target: str, look: Look, query: Callable[[], str], deadline: float) -> None:
    pool = pool_of(target)
    began = perf_counter()
    conn = pool.make_connection()
    try:
        conn.connect_within(max(0.05, deadline - monotonic()))
        look.connect_time = perf_counter() - began
        look.connected = True
        asked = query()
        began = perf_counter()
        _ask(conn, deadline, asked)
        look.query_error = ""
        look.query_time = perf_counter() - began
        _tell(conn, look, deadline)
    finally:
        conn.part(deadline)


def _ask(conn: Any, deadline: float, *words: Any) -> Any:
    conn.send_command(*words, check_health=False)
    if not conn.can_read(max(0.0, deadline - monotonic())):
        raise redis.TimeoutError("no answer before the deadline")
    return conn.read_response(disable_decoding=True)


def _tell(conn: Any, look: Look, deadline: float) -> None:
    """What the server says of itself, as far as this user may ask."""
    try:
        info = _parsed(_ask(conn, deadline, "INFO"))
    except redis.ResponseError:
        return
    look.version = _version(info)
    # The probe's own connection is gone by the time that anybody reads this.
    look.used = int(info.get("connected_clients", 1)) - 1
    look.most = int(info["maxclients"]) if "maxclients" in info else None
    look.reserved = 0
    if info.get("loading") == "1":
        look.verdicts.append(
            Verdict("warning", phrase("The server is loading its data, and answers nothing else meanwhile."))
        )
    if look.used > _MOST_LISTED:
        return
    try:
        listed = _text(_ask(conn, deadline, "CLIENT", "LIST"))
    except redis.ResponseError:
        return
    ids = (line.partition("id=")[2].partition(" ")[0] for line in listed.splitlines())
    look.ids = [int(each) for each in ids if each.isdigit() and int(each) != conn.server_id]


def _version(info: Mapping[str, str]) -> str:
    return next((f"{product} {info[key]}" for key, product in _PRODUCTS.items() if key in info), "")


def _parsed(info: Any) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(info).splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
