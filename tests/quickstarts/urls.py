"""Views whose answers show whose they are: by the tenant of the request, or by the token in its path."""

import time
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import poolmgr
from tests.quickstarts.notes.models import Note


def echo(request: HttpRequest, token: str) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [token])
        return HttpResponse(cursor.fetchone()[0])


def stream(request: HttpRequest, token: str) -> StreamingHttpResponse:
    """Rows of a server-side cursor that is open while they are sent."""

    def parts() -> Iterator[str]:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT %s FROM generate_series(1, 90)", [token])
            while rows := cursor.fetchmany(30):
                yield "".join(f"{row[0]} " for row in rows)
                time.sleep(0.005)

    return StreamingHttpResponse(parts())


def rolled_back(request: HttpRequest, token: str) -> HttpResponse:
    """What the transaction sees of itself; nothing is left of it."""
    with transaction.atomic():
        Note.objects.create(text=token)
        seen = Note.objects.filter(text=token).count()
        transaction.set_rollback(True)
    return HttpResponse(token if (seen, Note.objects.filter(text=token).count()) == (1, 0) else f"{seen} rows")


# -- django-silk: it records what goes through the ORM -----------------------------------------------------------------


def looked(request: HttpRequest, token: str) -> HttpResponse:
    Note.objects.filter(text=token).exists()
    return echo(request, token)


# -- django-tenants: every note names the tenant that it belongs to ----------------------------------------------------


def _notes() -> str:
    return " ".join(Note.objects.values_list("text", flat=True))


def notes(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_notes())


def written(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        note = Note.objects.create(text=request.tenant.schema_name)  # type: ignore[attr-defined]
        seen = _notes()
        note.delete()
    with poolmgr.released():
        time.sleep(0.002)
    with poolmgr.pinned():
        return HttpResponse(f"{seen} {_notes()}")


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(f"{note.text} " for note in Note.objects.iterator(chunk_size=10))


# -- django-pghistory: every event names the request that made it ------------------------------------------------------


def tracked(request: HttpRequest, token: str) -> JsonResponse:
    from tests.quickstarts.tracked.models import Tracked

    row = Tracked.objects.create()
    Tracked.objects.filter(pk=row.pk).update(number=1)
    with transaction.atomic():
        row.number = 2
        row.save()
    events = Tracked.pgh_event_model.objects.filter(pgh_obj_id=row.pk).order_by("pgh_id")
    return JsonResponse([[e.number, e.pgh_context.metadata["url"], str(e.pgh_context_id)] for e in events], safe=False)


# -- procrastinate: a job for each note, unless its transaction fails --------------------------------------------------


def deferred(request: HttpRequest, token: str) -> HttpResponse:
    from tests.quickstarts.notes.tasks import see, see_later

    fails = token.endswith("0")
    with transaction.atomic():
        Note.objects.create(text=token)
        see.defer(text=token)
        see_later.defer(text=token)
        transaction.set_rollback(fails)
    if fails:
        Note.objects.create(text=token)
    return HttpResponse(token)


VIEWS: dict[str, dict[str, Callable[..., object]]] = {
    "tenants": {"notes": notes, "written": written, "streamed": streamed},
    "pghistory": {"tracked/<token>": tracked},
    "silk": {"looked/<token>": looked, "stream/<token>": stream},
    "procrastinate": {"deferred/<token>": deferred, "echo/<token>": echo},
    "channels": {"echo/<token>": echo},
    "servers": {"echo/<token>": echo, "stream/<token>": stream, "written/<token>": rolled_back},
}
urlpatterns = [path(route, view) for route, view in VIEWS[settings.PACKAGE].items()]  # type: ignore[arg-type]
