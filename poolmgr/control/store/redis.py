"""The fleet store in Redis: beats under keys that expire, a push by publish/subscribe and a call to single processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from poolmgr.conf import conf
from poolmgr.control.store.base import Heard, StoreDown
from poolmgr.control.store.fetching import Fetcher
from poolmgr.control.store.occasions import EVERY, Occasions
from poolmgr.control.store.patience import patience
from poolmgr.control.store.reading import Details, Reading, read_beats, read_details
from poolmgr.control.store.redis_totals import RedisTotals
from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import process_uid
from poolmgr.metrics.details import split
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.metrics.totals import Gain, Total
from poolmgr.secrets import HIDDEN, Secret, disarm

#: Seconds. Whoever reads the fleet would rather be told that Redis is away than wait for it.
_CONNECT, _ANSWER = 0.5, 1.0
#: Seconds between attempts to subscribe while Redis is away: each may cost the caller _CONNECT.
_AGAIN = 1.0

#: What a process hears on its own channel when it should go to the ledger of budgets, and when it is asked something.
_CALL, _TURN, _QUESTION = b"call", b"turn", b"question"
#: As many questions are taken at a time, and so many bytes of each; seconds for which their names are kept.
_QUESTIONS, _LONGEST_QUESTION, _ASKED = 100, 4096, 600
_WORDS = {_CALL: Heard.CALL, _TURN: Heard.TURN, _QUESTION: Heard.QUESTION}
#: Seconds for which a line is remembered in which nobody moves.
_STANDS = 30


class RedisStore:
    """Safe to use from any thread, but for ``wait``, which belongs to the agent's."""

    name = "redis"
    pushes = True

    def __init__(self, url: str) -> None:
        client: Any = _client(url := Secret(url))
        prefix = "{" + conf().NAMESPACE + "}:"  # braces: all keys in one slot of a cluster
        self._beat_key = prefix + "beat:"
        self._details_key = prefix + "details:"
        self._lead_key = prefix + "lead:"
        self._note_key = prefix + "note:"
        self._asked_key = prefix + "asked:"
        self._question_key = prefix + "question:"
        self._answer_key = prefix + "answer:"
        self._index = prefix + "processes"
        self._changed = prefix + "changed"
        self._line = prefix + "line"
        if client is None:
            raise ConfigurationError(
                f"POOLMGR['REDIS_URL'] is {HIDDEN}, but must be a URL that redis-py understands, with no "
                "other options after the ? than redis-py's own"
            )
        self._address = _address(url)
        self._client = client
        self._password = Secret(client.connection_pool.connection_kwargs.get("password") or "")
        self._fetcher = Fetcher(self._client, self._index, self._beat_key, self._details_key)
        self._occasions = Occasions()
        self._totals = RedisTotals(self._client, prefix)
        self.fleet = 0
        self._ear: Any = None
        self._deaf_until = 0.0
        self._woken = Event()
        self._unsaid: set[Heard] = set()

    def beat(self, beat: ProcessBeat) -> None:
        often, details = split(beat)
        text, lasts = often.to_json(), conf().PROCESS_TTL
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            if told := self._occasions.is_one(details):
                # First, so that whoever reads in between finds none that are older than the rest.
                key, longer = self._details_key + beat.uid, EVERY * conf().HEARTBEAT_INTERVAL
                pipe.set(key, details.to_json(), px=int((lasts + longer) * 1000))
            pipe.set(self._beat_key + beat.uid, text, px=int(lasts * 1000))
            pipe.sadd(self._index, beat.uid)
            pipe.scard(self._index)
            self.fleet = pipe.execute()[-1]
        self._occasions.passed(details, told)

    def count(self, uid: str, gain: Gain) -> None:
        with self._or_down():
            self._totals.add(uid, gain)

    def totals(self) -> tuple[Total, ...]:
        with self._or_down():
            return self._totals.read()

    def forget(self, uid: str) -> None:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            pipe.srem(self._index, uid)
            pipe.delete(self._beat_key + uid, self._details_key + uid)
            pipe.execute()
        self._occasions.forget(uid)

    def read(self, details: bool = True) -> Reading:
        with self._or_down():
            found, left_out = self._fetcher.found()
            more = self._fetcher.details(found) if details else {}
        texts = ((uid.decode(errors="replace"), text) for uid, text in found.items() if text is not None)
        return read_beats(texts, left_out, {uid.decode(errors="replace"): text for uid, text in more.items()})

    def details(self, uids: Collection[str]) -> Details:
        with self._or_down():
            found = self._fetcher.details({uid.encode(): b"" for uid in uids})
        return read_details((uid.decode(errors="replace"), text) for uid, text in found.items())

    def processes(self) -> tuple[ProcessBeat, ...]:
        return self.read().beats

    def sweep(self) -> tuple[str, ...]:
        # SREM tells which of two sweepers at once removed the uid. A process that only was slow adds itself again.
        with self._or_down():
            found, _left_out = self._fetcher.found()
            dead = [uid for uid, text in found.items() if text is None]
            pipe = self._client.pipeline(transaction=False)
            for uid in dead:
                pipe.srem(self._index, uid)
            removed = pipe.execute()
        return tuple(uid.decode(errors="replace") for uid, gone in zip(dead, removed, strict=True) if gone)

    def lead(self, target: str, uid: str, seconds: float) -> bool:
        key, milliseconds = self._lead_key + target, max(1, int(seconds * 1000))
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(key, uid, px=milliseconds, nx=True)
            pipe.get(key)
            taken, leader = pipe.execute()
            if taken or leader != uid.encode():
                return bool(taken)
            return self._if_led_by(uid, key, lambda found: found.pexpire(key, milliseconds))

    def give_up_lead(self, target: str, uid: str) -> None:
        key = self._lead_key + target
        with self._or_down():
            self._if_led_by(uid, key, lambda found: found.delete(key))

    def _if_led_by(self, uid: str, key: str, act: Callable[[Any], object]) -> bool:
        """Whether it is led so still, and ``act`` was done before anybody else could take it."""
        with self._client.pipeline() as pipe:
            pipe.watch(key)
            if pipe.get(key) != uid.encode():
                return False
            pipe.multi()
            act(pipe)
            try:
                return bool(pipe.execute()[0])
            except redis.WatchError:
                return False

    def note(self, name: str, text: str, seconds: float) -> None:
        with self._or_down():
            self._client.set(self._note_key + name, text, px=max(1, int(seconds * 1000)))

    def notes(self, names: tuple[str, ...], most: int = 1000) -> tuple[str, ...]:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.getrange(self._note_key + name, 0, most)
            found = pipe.execute()
        return tuple("" if len(text) > most else text.decode(errors="replace") for text in found)

    def ask(self, uid: str, name: str, text: str, seconds: float) -> None:
        milliseconds = max(1, int(seconds * 1000))
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(self._question_key + name, text, px=milliseconds)
            pipe.rpush(self._asked_key + uid, name)
            pipe.expire(self._asked_key + uid, _ASKED)  # by then the last one has been over for long
            pipe.publish(self._channel_of(uid), _QUESTION)
            pipe.execute()

    def asked(self, uid: str) -> tuple[tuple[str, str], ...]:
        with self._or_down():
            pipe = self._client.pipeline()
            pipe.lrange(self._asked_key + uid, 0, _QUESTIONS - 1)
            pipe.ltrim(self._asked_key + uid, _QUESTIONS, -1)
            names = pipe.execute()[0]
            if not names:
                return ()
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.getrange(self._question_key.encode() + name, 0, _LONGEST_QUESTION - 1)
            pipe.delete(*(self._question_key.encode() + name for name in names))
            texts = pipe.execute()[:-1]
        # One that is empty has expired.
        pairs = zip(names, texts, strict=True)
        return tuple((name.decode(errors="replace"), text.decode(errors="replace")) for name, text in pairs if text)

    def answer(self, name: str, text: str, seconds: float) -> None:
        with self._or_down():
            self._client.set(self._answer_key + name, text, px=max(1, int(seconds * 1000)))

    def answer_to(self, name: str, most: int) -> str:
        with self._or_down():
            found: bytes = self._client.getrange(self._answer_key + name, 0, most - 1)
        return found.decode(errors="replace")

    def notify(self) -> None:
        self._woken.set()
        with self._or_down():
            self._client.publish(self._changed, "")

    def call(self, uids: Collection[str]) -> None:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            for uid in uids:
                pipe.publish(self._channel_of(uid), _CALL)
            pipe.execute()

    def line_up(self, uid: str) -> None:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            pipe.zadd(self._line, {uid: time()}, nx=True)
            pipe.expire(self._line, _STANDS)
            pipe.execute()

    def pass_turn(self, uid: str) -> None:
        with self._or_down():
            pipe = self._client.pipeline(transaction=False)
            pipe.zrem(self._line, uid)
            pipe.zpopmin(self._line)
            for first, _since in pipe.execute()[1]:
                self._client.publish(self._channel_of(first.decode(errors="replace")), _TURN)

    def wait(self, seconds: float) -> Heard:
        if self._unsaid:
            return self._unsaid.pop()
        deadline = monotonic() + seconds
        if self._listening():
            try:
                heard = self._hear(max(0.0, deadline - monotonic()))
            except (redis.RedisError, OSError):
                self._stop_listening()
            else:
                if self._woken.is_set():
                    self._woken.clear()
                    self._unsaid |= {heard} - {Heard.NOTHING, Heard.NEWS}
                    return Heard.NEWS
                return heard
        woken = self._woken.wait(max(0.0, deadline - monotonic()))
        self._woken.clear()
        return Heard.NEWS if woken else Heard.NOTHING

    def _hear(self, seconds: float) -> Heard:
        """What has come; of several of a kind it is the first, since what is done upon it is an answer to all of them."""
        first = _kind_of(self._ear.get_message(timeout=seconds))
        while heard := _kind_of(self._ear.get_message(timeout=0.0)) if first else Heard.NOTHING:
            self._unsaid |= {heard} - {first}
        return first

    def wake(self) -> None:
        self._woken.set()
        # To this process alone; the subscription's socket is what its wait() sleeps on, or the event without Redis.
        # The sleeper may be awake and close the client meanwhile, and while the interpreter ends parts of it are gone.
        with suppress(redis.RedisError, OSError, ValueError, AttributeError):
            self._client.publish(self._channel_of(process_uid()), "")

    def _channel_of(self, uid: str) -> str:
        return f"{self._changed}:{uid}"

    def _listening(self) -> bool:
        if self._ear is None and monotonic() >= self._deaf_until:
            ear = self._client.pubsub()
            try:
                ear.subscribe(self._changed, self._channel_of(process_uid()))
            except (redis.RedisError, OSError):
                self._deaf_until = monotonic() + _AGAIN
            else:
                self._ear = ear
        return self._ear is not None

    def _stop_listening(self) -> None:
        ear, self._ear = self._ear, None
        self._deaf_until = monotonic() + _AGAIN
        if ear is not None:
            ear.close()

    def close(self) -> None:
        self._stop_listening()
        self._client.close()

    @contextmanager
    def _or_down(self) -> Iterator[None]:
        with patience(self, phrase("Redis at %(address)s answers too slowly", address=self._address)):
            try:
                yield
            except (redis.RedisError, OSError) as error:
                disarm(error, self._password)
                raise StoreDown(_sentence(self._address, error)) from error


def _kind_of(message: Any) -> Heard:
    if message is None:
        return Heard.NOTHING
    # A confirmed subscription counts as news: what changed while nobody listened is not repeated.
    return _WORDS.get(message["data"], Heard.NEWS)


def _client(url: str) -> Any:
    """A client that is not connected yet; None where redis-py does not understand the URL."""
    try:
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT,
            socket_timeout=_ANSWER,
            # redis-py would retry for seconds by default; one serves for a connection that the server had closed. What was
            # waited for in vain is not asked again.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            health_check_interval=15,
        )
        # Made and not connected: what redis-py does not know, it would otherwise refuse at every use.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        return None  # whose words may quote the URL
    return client


def _sentence(address: str, error: BaseException) -> str:
    # The text of connection errors is not repeated: which parts of the URL it quotes is redis-py's to decide.
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return phrase("Redis at %(address)s refuses the credentials", address=address)
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return phrase("Redis at %(address)s does not answer", address=address)
    if isinstance(error, redis.ResponseError):
        return phrase("Redis at %(address)s refuses the command (%(error)s)", address=address, error=str(error)[:100])
    return phrase("Redis at %(address)s can't be reached", address=address)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
