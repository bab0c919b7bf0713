"""What lies under the names of processes in Redis: nothing is fetched before its kind, expiry and length are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from poolmgr.control.store.reading import MAX_BYTES, MAX_NAMES, refusal_of
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.snapshot import MAX_BEAT

#: Processes that one question is about.
_AT_ONCE = 1000
_NO_TEXT, _FOR_EVER = -1, -2
# For each key its text, or a number in its place: the length of one that is too long for what may still be sent (the most
# of each, and of all together), _NO_TEXT, _FOR_EVER. Nothing of what is refused travels.
_FETCH = """
local most, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then
    found[i] = false
  elseif kind ~= 'string' then
    found[i] = -1
  elseif redis.call('PTTL', key) == -1 then
    found[i] = -2
  else
    local length = redis.call('STRLEN', key)
    if length > most or length > room then
      found[i] = length
    else
      room = room - length
      found[i] = redis.call('GET', key)
    end
  end
end
return found
"""

#: A heartbeat's text, why it was not fetched, or None for a process that is gone.
Found = bytes | Unreadable | None


class Fetcher:
    """Looks up the members of the set ``index`` under ``prefix`` and the member's name, and their details under
    ``details``. Its calls raise redis-py's errors."""

    def __init__(self, client: Any, index: str, prefix: str, details: str) -> None:
        self._client = client
        self._index = index
        self._prefix, self._details = prefix.encode(), details.encode()
        self._fetch = client.register_script(_FETCH)

    def found(self) -> tuple[dict[bytes, Found], int]:
        """By uid what lies there, and how many uids were not looked at."""
        found: dict[bytes, Found] = {}
        room, cursor = MAX_BYTES, -1
        while cursor and len(found) < MAX_NAMES:
            cursor, uids = self._client.sscan(self._index, max(0, cursor), count=_AT_ONCE)
            for uid, answer in self._look(self._prefix, uids, room):
                found[uid] = answer
                room -= _size(answer)
        return found, max(0, self._client.scard(self._index) - len(found)) if cursor else 0

    def details(self, found: dict[bytes, Found]) -> dict[bytes, Found]:
        """Of those who were ``found``, as far as there are any."""
        uids = [uid for uid, answer in found.items() if isinstance(answer, bytes)]
        room = MAX_BYTES - sum(map(_size, found.values()))
        told: dict[bytes, Found] = {}
        for first in range(0, len(uids), _AT_ONCE):
            for uid, answer in self._look(self._details, uids[first : first + _AT_ONCE], room):
                told[uid] = answer
                room -= _size(answer)
        return told

    def _look(self, prefix: bytes, uids: list[bytes], room: int) -> Iterator[tuple[bytes, Found]]:
        if uids:
            answers = self._fetch(keys=[prefix + uid for uid in uids], args=[MAX_BEAT, max(0, room)])
            for uid, answer in zip(uids, answers, strict=True):
                yield uid, _refusal(answer) if isinstance(answer, int) else answer


def _size(answer: Found) -> int:
    return len(answer) if isinstance(answer, bytes) else 0


def _refusal(number: int) -> Unreadable | None:
    if number == _NO_TEXT:
        return Unreadable("it is no text")
    if number == _FOR_EVER:
        return Unreadable("it would never expire, as no process leaves it")
    return refusal_of(number, room=0)
