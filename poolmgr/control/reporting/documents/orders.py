"""What was ordered, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poolmgr.control.reporting.documents.values import moment, text
from poolmgr.models import Acknowledgement, Command, PoolProfile, ProfileRevision


def command(row: Command, answers: Iterable[Acknowledgement] = ()) -> dict[str, Any]:
    """An order to pools, with what each process has answered by now; ``process`` None is all, and so is ``database``."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "target": row.target,
        "process": text(row.process),
        "database": text(row.database),
        "author": text(row.author),
        "at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "answers": [
            {"process": text(each.process), "state": each.state, "message": text(each.message), "at": moment(each.at)}
            for each in answers
        ],
    }


def outcome(kind: str, target: str, checkout: str, author: str, done: bool, said: str) -> dict[str, Any]:
    """What became of a cancel or an end; ``done`` is whether it is known to have been done."""
    return {
        "kind": kind, "target": target, "checkout": checkout, "author": text(author), "done": done, "message": said,
    }  # fmt: skip


def edit(
    profile: PoolProfile, revision: ProfileRevision | None, foreseen: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """An edit of settings, and what it leads to as it was ``foreseen``; without a revision nothing was changed."""
    changes = revision.changes.items() if revision else ()
    return {
        "profile": profile.pk,
        "target": profile.target,
        "role": text(profile.role),
        "revision": profile.revision,
        "saved": revision is not None,
        "changes": {name: {"from": old, "to": new} for name, (old, new) in changes},
        "consequences": list(foreseen),
    }
