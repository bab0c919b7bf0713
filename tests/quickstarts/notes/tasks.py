"""What procrastinate's worker does: it finds this module by its name."""

from django.db import transaction
from django.db.models import F
from procrastinate.contrib.django import app

from tests.quickstarts.notes.models import Note


@app.task
def see(text: str) -> None:
    with transaction.atomic():
        Note.objects.filter(text=text).update(seen=F("seen") + 1)


@app.task
async def see_later(text: str) -> None:
    await Note.objects.filter(text=text).aupdate(seen=F("seen") + 1)
