"""Leases of budgets in Redis: one script is the only way by which any of them changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from poolmgr.conf import conf
from poolmgr.control.store.base import Claim

# KEYS: hash uid -> connections, sorted set uid -> expiry. Time is the server's: hosts may disagree.
# What is written down is never less than what the process has in force or holds, even above the budget: a process that
# comes back after Redis lost its memory is there, and its connections leave no room for others to grow into.
_RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local uid, force, held = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local want, budget, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  if dead ~= uid then
    redis.call('HDEL', KEYS[1], dead)
    redis.call('ZREM', KEYS[2], dead)
  end
end
local others = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= uid then others = others + tonumber(all[i + 1]) end
end
local granted = math.max(0, math.min(want, budget - others))
local claimed = math.max(granted, held)
if granted < force then claimed = math.max(claimed, force) end
redis.call('HSET', KEYS[1], uid, claimed)
redis.call('ZADD', KEYS[2], now + ttl, uid)
redis.call('PEXPIRE', KEYS[1], ttl * 10)
redis.call('PEXPIRE', KEYS[2], ttl * 10)
return granted
"""


class RedisLeases:
    """A lease lasts for ``PROCESS_TTL`` seconds, which ``POOLMGR`` keeps above twice the heartbeat."""

    def __init__(self, client: Any, prefix: str, or_down: Callable[[], AbstractContextManager[None]]) -> None:
        self._client = client
        self._prefix = prefix + "lease:"
        self._or_down = or_down
        self._renew = client.register_script(_RENEW)

    def renew(self, claim: Claim) -> int:
        ttl = int(conf().PROCESS_TTL * 1000)
        with self._or_down():
            granted = self._renew(
                keys=self._keys(claim.target),
                args=[claim.uid, claim.force, claim.held, claim.want, claim.budget, ttl],
            )
        return int(granted)

    def give_back(self, uid: str, targets: tuple[str, ...]) -> None:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            for target in targets:
                counts, expiries = self._keys(target)
                pipe.hdel(counts, uid)
                pipe.zrem(expiries, uid)
            pipe.execute()

    def _keys(self, target: str) -> tuple[str, str]:
        return f"{self._prefix}{target}:count", f"{self._prefix}{target}:expiry"
