"""Who looks on: a user as far as the pass tells."""

from __future__ import annotations

from collections.abc import Iterable

from poolmgr.lookon.passes import Pass


class Onlooker:
    """Quacks like Django's user, for the site's middleware as well as for the pages, and may nothing but look."""

    is_authenticated = is_active = is_staff = True
    is_anonymous = is_superuser = False

    def __init__(self, held: Pass) -> None:
        self.held = held
        self.pk = self.id = None
        self.username = held.name

    def __str__(self) -> str:
        return self.held.name

    def get_username(self) -> str:
        return self.held.name

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return perm in self.held.sees

    def has_perms(self, perms: Iterable[str], obj: object = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perms)

    def has_module_perms(self, app_label: str) -> bool:
        return False
