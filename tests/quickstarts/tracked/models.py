import pghistory
from django.db import models


@pghistory.track()
class Tracked(models.Model):
    number = models.IntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)
