"""Channels' tutorial: whoever is in a room hears what is said in it. Each word is kept in the database."""

from django.core.asgi import get_asgi_application

http = get_asgi_application()

from typing import Any  # noqa: E402

from asgiref.sync import sync_to_async  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.urls import path  # noqa: E402

from tests.quickstarts.notes.models import Note  # noqa: E402


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)
        await database_sync_to_async(Note.objects.filter(text=self.room).count)()

    async def receive_json(self, content: Any) -> None:
        told = await self.kept(content)
        read = [note.text async for note in Note.objects.filter(text=content)]
        await self.channel_layer.group_send(
            self.room, {"type": "said", "words": [told, *read, await self.asked(content)]}
        )

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json(event["words"])

    @database_sync_to_async
    def kept(self, words: str) -> str:
        with transaction.atomic():
            note = Note.objects.create(text=words)
        return Note.objects.get(pk=note.pk).text

    @sync_to_async(thread_sensitive=False)
    def asked(self, words: str) -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s", [words])
                return cursor.fetchone()[0]
        finally:
            connection.close()


application = ProtocolTypeRouter({"http": http, "websocket": URLRouter([path("room/<room>", Room.as_asgi())])})
