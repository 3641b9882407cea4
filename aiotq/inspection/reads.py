"""What of the inspector is told in a few words: queues and workers, and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.inspection import cursor as cursors
from aiotq.inspection.audit import parse
from aiotq.inspection.lines import House
from aiotq.inspection.values import Page

if TYPE_CHECKING:
    from aiotq.inspection.desk import Desk
    from aiotq.inspection.values import AuditEntry, QueueInfo, WorkerInfo

MOST_ENTRIES = 500
_AUDIT = "audit"


async def queues(desk: Desk) -> tuple[QueueInfo, ...]:
    """All of them, by name."""
    return await (await House.of(desk)).queues()


async def queue(desk: Desk, name: str) -> QueueInfo:
    """One of them, whether or not it ever had a job."""
    [one] = await (await House.of(desk, queue=name)).queues()
    return one


async def workers(desk: Desk) -> tuple[WorkerInfo, ...]:
    """All of them, by label."""
    return (await House.of(desk, queue=desk.core.settings.default_queue)).workers()


async def audit(desk: Desk, *, cursor: str | None, limit: int) -> Page[AuditEntry]:
    """A page of it. What is none of ours is left out."""
    checks.whole("limit", limit, least=1, most=MOST_ENTRIES)
    operator, first = desk.operator, 0
    if cursor is not None:
        match cursors.decoded(cursor):
            case ("audit", (int(offset), str(last))):
                index = await operator.audit_index(last.encode()) if last else None
                first = (offset if index is None else index) + 1
            case _:
                raise cursors.refused(cursor)
    rows = await operator.audit(first, first + limit)
    items = [parse(row) for row in rows[:limit]]
    anchor = rows[limit - 1] if len(rows) > limit else b""
    more = cursors.encoded(_AUDIT, (first + limit - 1, _text(anchor))) if len(rows) > limit else None
    return Page(items=tuple(item for item in items if item is not None), cursor=more, looked=len(items))


def _text(row: bytes) -> str:
    """What a cursor can carry of an entry."""
    return row.decode() if len(row) <= 1024 and row.isascii() else ""
