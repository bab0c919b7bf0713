"""The fleet store in database rows: slower heartbeats, no push, nothing else to run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Left, Length, Now
from django.db.utils import Error as DatabaseError

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, from_now, sentence_of
from poolmgr.control.store import row_totals
from poolmgr.control.store.base import Heard, StoreDown
from poolmgr.control.store.occasions import Occasions
from poolmgr.control.store.reading import (
    MAX_BYTES,
    MAX_NAMES,
    Details,
    Found,
    Reading,
    read_beats,
    read_details,
    refusal_of,
)
from poolmgr.metrics.details import split
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.metrics.totals import Gain, Total
from poolmgr.models import Lead, Message, Process

#: As many questions are taken at a time.
_QUESTIONS = 100


class DatabaseStore:
    """One row a process. The caller decides on which lane and for how long a connection is held."""

    name = "database"
    pushes = False
    fleet = 0

    def __init__(self) -> None:
        self._woken = Event()
        self._occasions = Occasions()

    def beat(self, beat: ProcessBeat) -> None:
        # The server's clock throughout: hosts whose clocks disagree must not bury each other.
        often, details = split(beat)
        row = Process(uid=beat.uid, at=Now(), beat=json.loads(often.to_json()), details=json.loads(details.to_json()))
        told = self._occasions.is_one(details)
        fields = ["at", "beat", *(["details"] if told else [])]
        with _or_down():
            _rows().bulk_create([row], update_conflicts=True, unique_fields=["uid"], update_fields=fields)
        self._occasions.passed(details, told)

    def count(self, uid: str, gain: Gain) -> None:
        with _or_down():
            row_totals.add(uid, gain)

    def totals(self) -> tuple[Total, ...]:
        with _or_down():
            return row_totals.read()

    def forget(self, uid: str) -> None:
        with _or_down():
            _rows().filter(uid=uid).delete()
        self._occasions.forget(uid)

    def read(self, details: bool = True) -> Reading:
        live = _rows().exclude(_dead())
        with _or_down():
            found, room = _texts(live, "beat", MAX_BYTES)
            left_out = max(0, live.count() - MAX_NAMES) if len(found) == MAX_NAMES else 0
            readable = [uid for uid, text in found.items() if isinstance(text, str)]
            more = _details(live.filter(uid__in=readable), room) if details and readable else {}
        return read_beats(found.items(), left_out, more)

    def details(self, uids: Collection[str]) -> Details:
        with _or_down():
            found = _details(_rows().filter(uid__in=uids), MAX_BYTES)
        return read_details(found.items())

    def processes(self) -> tuple[ProcessBeat, ...]:
        return self.read().beats

    def sweep(self) -> tuple[str, ...]:
        with _or_down():
            dead = list(_rows().filter(_dead()).values_list("uid", flat=True))
            # Of two sweepers at once only one deletes the row, and says so.
            return tuple(uid for uid in dead if _rows().filter(_dead(), uid=uid).delete()[0])

    def lead(self, target: str, uid: str, seconds: float) -> bool:
        until = from_now(timedelta(seconds=seconds))
        # A time far in the future was set by hand: it would be nobody's for as long.
        free = Q(process=uid) | Q(until__lte=Now()) | Q(until__gt=Now() + timedelta(seconds=conf().PROCESS_TTL))
        with _or_down():
            if _leads().filter(free, target=target).update(process=uid, until=until):
                return True
            if _leads().filter(target=target).exists():
                return False
            _leads().bulk_create([Lead(target=target, process=uid, until=until)], ignore_conflicts=True)
            return _leads().filter(target=target, process=uid).exists()

    def give_up_lead(self, target: str, uid: str) -> None:
        with _or_down():
            _leads().filter(target=target, process=uid).delete()

    def note(self, name: str, text: str, seconds: float) -> None:
        """Nothing: notes are for whoever can't read rows."""

    def notes(self, names: tuple[str, ...], most: int = 1000) -> tuple[str, ...]:
        return ("",) * len(names)

    def ask(self, uid: str, name: str, text: str, seconds: float) -> None:
        with _or_down():
            # Whoever looks leaves something: so there is no more than of the last minutes, whether or not anybody prunes.
            Message.objects.using(control_alias()).filter(until__lt=Now()).delete()
        self._tell(uid, name, text, seconds)

    def asked(self, uid: str) -> tuple[tuple[str, str], ...]:
        mine = Message.objects.using(control_alias()).filter(process=uid)
        with _or_down():
            found = list(mine.order_by("id").values_list("pk", "name", "text")[:_QUESTIONS])
            # Of two who take it at once only one deletes the row, and has it.
            taken = [(name, text) for pk, name, text in found if mine.filter(pk=pk, until__gt=Now()).delete()[0]]
        return tuple(taken)

    def answer(self, name: str, text: str, seconds: float) -> None:
        self._tell("", name, text, seconds)

    def answer_to(self, name: str, most: int) -> str:
        answers = Message.objects.using(control_alias()).filter(process="", name=name, until__gt=Now())
        with _or_down():
            return "".join(answers.values_list(Left("text", most), flat=True))

    def _tell(self, process: str, name: str, text: str, seconds: float) -> None:
        row = Message(process=process, name=name, text=text, until=from_now(timedelta(seconds=seconds)))
        with _or_down():
            Message.objects.using(control_alias()).bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["process", "name"],
                update_fields=["text", "until"],
            )

    def notify(self) -> None:
        """Others find out at their next poll; this process at once."""
        self._woken.set()

    def call(self, uids: Collection[str]) -> None:
        """Nobody hears it: they look for themselves."""

    def line_up(self, uid: str) -> None:
        """Likewise."""

    def pass_turn(self, uid: str) -> None:
        """Likewise."""

    def wait(self, seconds: float) -> Heard:
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return Heard.NEWS if woken else Heard.NOTHING

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Nothing is held between calls."""


def _rows() -> QuerySet[Process]:
    return Process.objects.using(control_alias())


def _texts(rows: QuerySet[Process], column: str, room: int) -> tuple[dict[str, Found], int]:
    """By uid what stands in ``column``, or why that was not fetched; and how many bytes may still be."""
    # As texts, so that whatever stands there is decoded in one place; none before its length is known.
    rows = rows.annotate(text=Cast(column, TextField()))
    found: dict[str, Found] = {}
    wanted = []
    for uid, size in rows.annotate(length=Length("text")).order_by("-at").values_list("uid", "length")[:MAX_NAMES]:
        if refusal := refusal_of(size or 0, room):
            found[uid] = refusal
        else:
            wanted.append(uid)
            room -= size or 0
    if wanted:
        found |= rows.filter(uid__in=wanted).values_list("uid", "text")
    return found, room


def _details(rows: QuerySet[Process], room: int) -> dict[str, Found]:
    found, _room = _texts(rows, "details", room)
    return {uid: None if text == "{}" else text for uid, text in found.items()}


def _leads() -> QuerySet[Lead]:
    return Lead.objects.using(control_alias())


def _dead() -> Q:
    # Times are the server's, so that one far in the future was never a heartbeat's: its row would live for ever.
    ttl = timedelta(seconds=conf().PROCESS_TTL)
    return Q(at__lte=Now() - ttl) | Q(at__gt=Now() + ttl)


@contextmanager
def _or_down() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StoreDown(sentence_of(error)) from error
