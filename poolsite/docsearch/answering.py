"""An answer, word by word: what the nearest documents say, at the pace of a model, with a query before each of them.

No model runs here. What matters to a pool is that somebody waits for one, and how long a connection is held meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Func, IntegerField

from .models import Document
from .search import Query, embedded
from .ways import READ, document_of, nearest

if settings.BY_TASKS:
    from django_async_backend.db import async_connections

#: How many documents an answer is made of, how many words it takes from each, and the seconds that each word takes.
PASSAGES, WORDS, PACE = 3, 40, 0.03


class Asking(Protocol):
    """Who queries. ``documents`` is the manager whose querysets ``rows()`` reads."""

    @property
    def documents(self) -> Any: ...

    async def rows(self, found: Any) -> list[Any]: ...

    async def holds(self) -> bool:
        """Whether a connection of the pool is kept, although nothing is asked just now."""


class ByTasks:
    """In the event loop, without a thread."""

    @property
    def documents(self) -> Any:
        return Document.async_objects  # type: ignore[attr-defined]

    async def rows(self, found: Any) -> list[Any]:
        return [each async for each in found]

    async def holds(self) -> bool:
        return async_connections[DEFAULT_DB_ALIAS].connection is not None


class ByThreads:
    """Django's own way: a thread for each query."""

    documents = Document.objects

    async def rows(self, found: Any) -> list[Any]:
        return await sync_to_async(lambda: list(found))()

    async def holds(self) -> bool:
        return await sync_to_async(lambda: connection.connection is not None)()


class Use:
    """What an answer has had of the pool: ``held`` is for how many milliseconds it had a connection, or asked for one.

    ``servers`` are the processes at the server that answered, one for each query.
    """

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.servers: list[int] = []
        self._began = time.perf_counter()
        self._held = 0.0
        self._since: float | None = None

    async def documents(self, found: Any) -> list[Document]:
        """Those of a queryset, each with its ``server_process``."""
        before = self._since if self._since is not None else time.perf_counter()
        server = Func(function="pg_backend_pid", output_field=IntegerField())
        rows = await self.asking.rows(found.annotate(server_process=server).values_list(*READ, "server_process"))
        now = time.perf_counter()
        self._held += now - before
        self._since = now if await self.asking.holds() else None
        self.servers += [server_process for *_, server_process in rows[:1]]
        return [document_of(row, "server_process") for row in rows]

    @property
    def held(self) -> float:
        kept = 0.0 if self._since is None else time.perf_counter() - self._since
        return (self._held + kept) * 1000

    @property
    def took(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    @property
    def share(self) -> float:
        """Of 100."""
        return 100 * self.held / self.took


@dataclass(frozen=True, slots=True)
class Passage:
    """What comes next is of ``document``, for which the answer's query took so long."""

    document: Document
    query_ms: float
    server_process: int


async def answer(query: Query, use: Use) -> AsyncIterator[str | Passage]:
    """Words, and before those of a document its passage. Raises what a checkout raises."""
    vector, _ = await sync_to_async(embedded)(query.text)
    documents = use.asking.documents
    for found in await use.documents(nearest(documents, vector)[:PASSAGES]):
        before = time.perf_counter()
        # As one that looks up what it needs when it comes to it.
        [document] = await use.documents(documents.filter(pk=found.pk))
        yield Passage(document, (time.perf_counter() - before) * 1000, use.servers[-1])
        for word in document.text.split()[:WORDS]:
            await asyncio.sleep(PACE)
            yield f"{word} "
