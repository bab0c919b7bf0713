"""What the tests of engines on Django's connections share: a table, and how both libraries write and read."""

from typing import Any

from django.contrib.auth.models import Group
from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "sqlalchemy_things"
    id: Mapped[int] = mapped_column(primary_key=True)
    kept: Mapped[Any] = mapped_column(JSONB)


def names() -> set[str]:
    """Of the groups, as Django reads them."""
    return set(Group.objects.values_list("name", flat=True))


def insertion(name: str) -> tuple[TextClause, dict[str, str]]:
    """Of a group of that name, as SQLAlchemy executes it."""
    return text("INSERT INTO auth_group (name) VALUES (:name)"), {"name": name}
