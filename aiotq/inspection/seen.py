"""What a list shows of a job, out of where it lies and what its record says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from aiotq import record as records
from aiotq.errors import InvalidRecord
from aiotq.inspection import filters, torn
from aiotq.inspection.places import Entry
from aiotq.inspection.values import JobFilter, JobSummary
from aiotq.job import DEFAULT_PRIORITY, DEFAULT_QUEUE, FRONT, SUSPECT, JobStatus
from aiotq.record import Record
from aiotq.shown import instant

if TYPE_CHECKING:
    from aiotq.document import Document
    from aiotq.inspection.desk import Desk
    from aiotq.store.inspection import Peek

UNREADABLE = "(unreadable)"
MOST_ERROR = 200  # characters
_TASK = re.compile(rb'\{"t":("(?:[^"\\]|\\.){0,1000}")')


class Seen(Struct, frozen=True, kw_only=True):
    """A job as a list shows it."""

    entry: Entry
    summary: JobSummary
    record: Record | None  # None: only its header has been read, or it can't be read
    header: tuple[int, str, str, int] | None  # version, state, generation, enqueued ms; None: it has none
    partial: Record | None = None  # of a large one, what its beginning and its end say: no arguments, no result
    ready_ms: int | None = None  # of one that waits: since when it could have been run

    def matches(self, wanted: JobFilter) -> bool:
        """Whether a filter takes it."""
        known = self.record or self.partial
        return filters.matches(wanted, self.summary, None if known is None else known.doc)


def see(desk: Desk, entry: Entry, peek: Peek | None, *, now_ms: int, wanted: JobFilter | None = None) -> Seen | None:
    """None: it is not there any more: its record has gone or moved on, and what lies there is stale.

    wanted: None as well if its record says that this filter does not take it. Cost: 20 µs, without a filter 40.
    """
    if peek is None or entry.job_id is None:
        return None
    header = found = None
    try:
        header = records.header(peek.data)
        if _is_of(header, entry) and peek.whole:
            found = desk.decoded(entry.job_id, peek.data)
    except InvalidRecord:  # broken, of a newer version, or signed by nobody
        return Seen(entry=entry, summary=bare(entry, peek, header=header), record=None, header=header)
    if not _is_of(header, entry):
        return None
    if found is None:
        return _large(desk, entry, peek, header, wanted)
    until_ms = records.hidden_from_ms(found)
    hidden = until_ms is not None and now_ms >= until_ms
    if hidden or (wanted is not None and not filters.takes(wanted, found.doc)):
        return None
    return Seen(entry=entry, summary=summary(entry, found), record=found, header=header, ready_ms=ready_ms(found))


def _is_of(header: tuple[int, str, str, int], entry: Entry) -> bool:
    _, state, generation, _ = header
    if entry.generation is not None:
        return state == records.WAITING and generation == entry.generation
    return records.STATES.get(state) is entry.status


def ready_ms(found: Record) -> int:
    """Since when a job that waits could have been run."""
    doc = found.doc
    if doc.due_ms is not None:
        return max(doc.due_ms, found.enqueued_ms)
    return found.enqueued_ms + (doc.delay_ms or 0)


def priority_of(entry: Entry) -> int:
    """By its ticket; of a suspect that says nothing of it."""
    place = entry.place
    if place is None or place == SUSPECT:
        return DEFAULT_PRIORITY
    return FRONT.index(place) if place in FRONT else int(place) if place in "0123456789" else DEFAULT_PRIORITY


def error_of(doc: Document) -> str | None:
    """In one line."""
    if doc.error is None:
        return None
    text = f"{doc.error.type}: {doc.error.message}" if doc.error.message else doc.error.type
    return text[:MOST_ERROR]


def summary(entry: Entry, found: Record) -> JobSummary:
    """What a list shows of a record that can be read."""
    doc = found.doc
    last = doc.history[-1] if doc.history else None
    ended = found.status is not None
    running = entry.status is JobStatus.RUNNING
    finished_ms = None
    if ended:
        finished_ms = doc.finished_ms if doc.finished_ms is not None or last is None else last.finished_ms
    due_ms = entry.due_ms if entry.due_ms is not None else doc.due_ms
    if due_ms is None and doc.delay_ms is not None:
        due_ms = found.enqueued_ms + doc.delay_ms
    started_ms = entry.started_ms if running else last and last.started_ms
    ended_by = doc.worker if doc.worker is not None or last is None else last.worker
    return JobSummary(
        id=found.job_id,
        task=doc.task,
        queue=entry.queue or doc.queue,
        priority=doc.priority,
        status=found.status or entry.status,
        reason=doc.reason,
        attempt=doc.attempt + running,
        enqueued_at=instant(found.enqueued_ms),
        due_at=None if due_ms is None else instant(due_ms),
        started_at=None if started_ms is None else instant(started_ms),
        finished_at=None if finished_ms is None else instant(finished_ms),
        worker=entry.worker if running else ended_by if ended else None,
        error=error_of(doc),
        lost=doc.lost,
        size=found.size,
    )


def _large(
    desk: Desk, entry: Entry, peek: Peek, header: tuple[int, str, str, int], wanted: JobFilter | None
) -> Seen | None:
    """Of a record that is not read whole for a list. Whether it was signed can't be told by a part of it."""
    ours = header[0] <= records.VERSION
    partial = torn.record_of(entry.job_id or "", peek, header) if ours and desk.core.signer is None else None
    if partial is not None:
        if wanted is not None and not filters.takes(wanted, partial.doc):
            return None
        shown = summary(entry, partial)
        return Seen(entry=entry, summary=shown, record=None, header=header, partial=partial, ready_ms=ready_ms(partial))
    named = _TASK.match(peek.data, records.HEADER) if ours else None
    try:
        task = None if named is None else msgspec.json.decode(named[1], type=str)
    except (msgspec.MsgspecError, ValueError):
        task = None
    return Seen(entry=entry, summary=bare(entry, peek, header=header, task=task), record=None, header=header)


def bare(entry: Entry, peek: Peek, *, header: tuple[int, str, str, int] | None, task: str | None = None) -> JobSummary:
    """What header and ticket say. task: if that can be read."""
    _, state, _, enqueued_ms = header or (0, "", "", None)
    return JobSummary(
        id=entry.job_id or "",
        task=UNREADABLE if task is None else task,
        queue=entry.queue or DEFAULT_QUEUE,
        priority=priority_of(entry),
        status=records.STATES.get(state, entry.status),
        reason=None,
        attempt=0,
        enqueued_at=None if enqueued_ms is None else instant(enqueued_ms),
        due_at=None if entry.due_ms is None else instant(entry.due_ms),
        started_at=None if entry.started_ms is None else instant(entry.started_ms),
        finished_at=None,
        worker=entry.worker,
        error=None,
        size=peek.size,
        readable=task is not None,
    )
