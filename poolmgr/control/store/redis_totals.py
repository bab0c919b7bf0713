"""The fleet's totals in Redis: a hash for each target and role, and the number of the last gain of each process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from poolmgr.control.store.reading import MAX_TOTALS, TOLD_KEPT, TOTALS_KEPT, total_of
from poolmgr.metrics.totals import LONGEST_FIELD, Gain, Total

#: Digits of the largest sum.
_DIGITS = 19
#: Fields of a total, far above what an honest one has.
_MOST_FIELDS = 1000
# A gain is added once, whatever comes twice or late: the number of the last one is kept for each process. What is no sum
# under a field, or no hash under a key, was put there by somebody else and gives way.
_ADD = """
local last = redis.pcall('GET', KEYS[1])
if type(last) == 'string' and (tonumber(last) or 0) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local function make_room(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', key)
  end
end
make_room(KEYS[2], 'set')
local at = 4
for i = 3, #KEYS do
  make_room(KEYS[i], 'hash')
  redis.call('SADD', KEYS[2], ARGV[at])
  local last_of_it = at + 1 + 2 * tonumber(ARGV[at + 1])
  for field = at + 2, last_of_it, 2 do
    local sum = redis.pcall('HINCRBY', KEYS[i], ARGV[field], ARGV[field + 1])
    if type(sum) == 'table' then
      redis.call('HSET', KEYS[i], ARGV[field], ARGV[field + 1])
    end
  end
  redis.call('PEXPIRE', KEYS[i], ARGV[3])
  at = last_of_it + 1
end
return 1
"""
# For each key its fields and numbers, one after the other; nothing of what is too long or too many travels.
_READ = """
local totals = {}
for i, key in ipairs(KEYS) do
  local told = {}
  if redis.call('TYPE', key).ok == 'hash' and redis.call('HLEN', key) <= tonumber(ARGV[1]) then
    local all = redis.call('HGETALL', key)
    for at = 1, #all, 2 do
      if #all[at] <= tonumber(ARGV[2]) and #all[at + 1] <= tonumber(ARGV[3]) then
        told[#told + 1] = all[at]
        told[#told + 1] = all[at + 1]
      end
    end
  end
  totals[i] = told
end
return totals
"""


class RedisTotals:
    """Keys begin with ``prefix``, whose braces keep all of them in one slot of a cluster. Calls raise redis-py's errors."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._number_key = prefix + "told:"
        self._index = prefix + "totals"
        self._total_key = prefix + "total:"
        self._add = client.register_script(_ADD)
        self._read = client.register_script(_READ)

    def add(self, uid: str, gain: Gain) -> None:
        keys = [self._number_key + uid, self._index]
        told: list[Any] = [gain.number, int(TOLD_KEPT * 1000), int(TOTALS_KEPT * 1000)]
        for target, sums in gain.sums.items():
            name = json.dumps([target, gain.role])
            keys.append(self._total_key + name)
            told += [name, len(sums)]
            for field, more in sums.items():
                told += [field, more]
        self._add(keys=keys, args=told)

    def read(self) -> tuple[Total, ...]:
        names = self._names()
        if not names:
            return ()
        answers = self._read(
            keys=[self._total_key.encode() + name for name in names], args=[_MOST_FIELDS, LONGEST_FIELD, _DIGITS]
        )
        found = (_total(name, answer) for name, answer in zip(names, answers, strict=True))
        return tuple(total for total in found if total is not None)

    def _names(self) -> list[bytes]:
        found: set[bytes] = set()
        cursor = -1
        while cursor and len(found) < MAX_TOTALS:
            cursor, names = self._client.sscan(self._index, max(0, cursor), count=MAX_TOTALS)
            found.update(names)
        return sorted(found)[:MAX_TOTALS]


def _total(name: bytes, answer: list[bytes]) -> Total | None:
    try:
        target, role = json.loads(name)
    except (ValueError, TypeError, RecursionError):
        return None
    return total_of(target, role, dict(_pairs(answer)))


def _pairs(answer: list[bytes]) -> Iterator[tuple[str, int]]:
    for field, number in zip(answer[::2], answer[1::2], strict=True):
        if number.isdigit():
            yield field.decode(errors="replace"), int(number)
