"""What transactions mean for a pooled connection: when they end it may go back, and statement mode allows none."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base as native

from poolmgr.backends.postgresql.exempt import is_exempt
from poolmgr.backends.postgresql.patches import is_guarded
from poolmgr.exceptions import ModeError
from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here
from poolmgr.targets.postgresql.managed import ManagedPool


class Transactions(native.DatabaseWrapper):
    """The part of ``Pooled`` that Django's transactions call."""

    _busy: int
    managed_pool: Any
    pool_mode: Any
    _unpooled: int
    release_if_free: Any

    def get_autocommit(self) -> bool:
        """As Django's, but without taking a connection only to ask.

        Where a connection begins with autocommit off, ``atomic()`` must find it so before it begins.
        """
        if self.connection is None and self.settings_dict["AUTOCOMMIT"]:
            self._ask_before_making()
            if self.managed_pool is not None:
                return True
        return bool(super().get_autocommit())

    def _ask_before_making(self) -> None:
        """To make a pool connects, also where it is made for a question only: whoever forbids that must be asked."""
        if is_guarded() and registry.get(self.alias) is None:
            self.ensure_connection()

    def set_autocommit(self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False) -> None:
        if not here:
            attend()
        self._ask_before_making()
        if not autocommit and self.pool_mode == "statement":
            self.refuse_transaction("atomic() or set_autocommit(False)")
        self._count_transaction()
        self._busy += 1
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        finally:
            self._busy -= 1
        if autocommit:
            self.release_if_free()

    def _count_transaction(self) -> None:
        """Cursors that were declared before may be gone."""
        if (entry := getattr(self.connection, "entry", None)) is not None:
            entry.transactions += 1

    def _commit(self) -> None:
        if not here:
            attend()
        super()._commit()  # type: ignore[misc]
        self._count_transaction()

    def _rollback(self) -> None:
        if not here:
            attend()
        super()._rollback()  # type: ignore[misc]
        self._count_transaction()

    def _savepoint_rollback(self, sid: str) -> None:
        super()._savepoint_rollback(sid)  # type: ignore[misc]
        self._count_transaction()

    def run_and_clear_commit_hooks(self) -> None:
        """Run them without the connection: they may take long, query or raise."""
        busy, self._busy = self._busy, 0
        hooks, self.run_on_commit = self.run_on_commit, []
        try:
            try:
                self.release_if_free()
            finally:
                self.run_on_commit = hooks  # which a close() forgets
            super().run_and_clear_commit_hooks()
        finally:
            self._busy = busy

    def refuse_transaction(self, what: str) -> None:
        """In statement mode: raises ``ModeError``, and counts it, unless the connection is nobody else's or for the console.

        Whoever is exempt works as in transaction mode.
        """
        if not self._unpooled:
            refuse(what, self.alias, self.managed_pool)


def refuse(what: str, alias: str, managed: ManagedPool | None) -> None:
    """In statement mode: raises ``ModeError``, and counts it, unless whoever asks is exempt."""
    if is_exempt():
        return
    if managed is not None:
        managed.count(refused=1)
    raise ModeError(
        f"{what} is refused on database {alias!r}: its pool_mode is statement, which allows no transaction of"
        " several statements; use pool_mode transaction, or poolmgr.unpooled()"
    )
