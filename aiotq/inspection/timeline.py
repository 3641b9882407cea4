"""What happened to a job, in its order, out of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.inspection.values import TimelineEntry
from aiotq.job import SUSPECT_FROM, JobStatus
from aiotq.record import CANCELLED, MAX_ATTEMPTS_KEPT
from aiotq.shown import instant

if TYPE_CHECKING:
    from aiotq.document import PastAttempt
    from aiotq.record import Record
    from aiotq.store.contract import Place

MOST_ERROR = 500  # characters


def timeline(found: Record, place: Place, *, lost: int, started_ms: int | None) -> tuple[TimelineEntry, ...]:
    """started_ms: of the running attempt, if its worker has said."""
    doc, status = found.doc, found.status or place.status
    entries = [TimelineEntry(at=instant(found.enqueued_ms), what="enqueued")]
    if doc.delay_ms is not None:
        entries.append(TimelineEntry(at=instant(found.enqueued_ms + doc.delay_ms), what="due"))
    elif doc.due_ms is not None and not doc.history and doc.unknown is None:
        entries.append(TimelineEntry(at=instant(doc.due_ms), what="due"))
    history = doc.history[-MAX_ATTEMPTS_KEPT:]  # more of them no worker has written
    earlier = history[0].number - 1 if history else doc.attempt
    if earlier > 0:
        entries.append(TimelineEntry(at=None, what=f"{earlier} earlier attempt{'s' * (earlier > 1)}, no longer kept"))
    for past in history:
        entries += _attempt(past)
    if lost:
        entries.append(TimelineEntry(at=None, what=f"its worker vanished {lost} time{'s' * (lost > 1)}"))
    if doc.unknown is not None:
        times = doc.unknown.times
        what = f"put back {times} time{'s' * (times > 1)}: no worker that took it knew its task"
        entries.append(TimelineEntry(at=instant(doc.unknown.since_ms), what=what))
    return (*entries, *_now(found, place, status, lost=lost, started_ms=started_ms))


def _attempt(past: PastAttempt) -> tuple[TimelineEntry, TimelineEntry]:
    how, error = "succeeded", None
    if past.error_type == CANCELLED:
        how, error = "cancelled", past.error_message
    elif past.error_type is not None:
        how = "failed"
        error = f"{past.error_type}: {past.error_message}" if past.error_message else past.error_type
    began = TimelineEntry(at=instant(past.started_ms), what=f"attempt {past.number} started", worker=past.worker)
    ended = TimelineEntry(
        at=instant(past.finished_ms),
        what=f"attempt {past.number} {how}",
        worker=past.worker,
        took_s=max(0, past.finished_ms - past.started_ms) / 1000,
        error=None if error is None else error[:MOST_ERROR],
    )
    return began, ended


def _now(
    found: Record, place: Place, status: JobStatus | None, *, lost: int, started_ms: int | None
) -> list[TimelineEntry]:
    """Where it is, or how it ended."""
    doc = found.doc
    match status:
        case JobStatus.RUNNING:
            began = None if started_ms is None else instant(started_ms)
            took_s = None if started_ms is None else max(0, place.now_ms - started_ms) / 1000
            return [
                TimelineEntry(at=began, what=f"attempt {found.attempt} started", worker=place.worker),
                TimelineEntry(at=instant(place.now_ms), what="running", worker=place.worker, took_s=took_s),
            ]
        case JobStatus.SCHEDULED:
            due_ms = place.due_ms or doc.due_ms
            due = None if due_ms is None else instant(due_ms)
            first = doc.attempt == 0 and doc.unknown is None
            return [TimelineEntry(at=due, what="scheduled" if first else f"attempt {found.attempt} due")]
        case JobStatus.QUEUED | None:
            what = "waits among the suspects, one of which runs at a time" if lost >= SUSPECT_FROM else "waits"
            return [TimelineEntry(at=instant(place.now_ms), what=what)]
        case _ if doc.finished_ms is not None:
            what = status.value if doc.reason in (None, status.value) else f"{status.value}: {doc.reason}"
            return [TimelineEntry(at=instant(doc.finished_ms), what=what, worker=doc.worker)]
        case _:
            return []
