"""What a person is shown of a job: its record and where it is, as one value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from aiotq.document import NO_RESULT
from aiotq.errors import Frame
from aiotq.frames import MAX_FRAMES
from aiotq.job import AttemptInfo, ErrorInfo, JobInfo, JobStatus
from aiotq.record import MAX_ATTEMPTS_KEPT

if TYPE_CHECKING:
    from msgspec import Raw

    from aiotq.document import Document, Raised
    from aiotq.record import Record


def info(
    record: Record,
    place_status: JobStatus | None,
    *,
    lost: int = 0,
    worker_label: str | None = None,
    due_ms: int | None = None,
    values: bool = True,
) -> JobInfo:
    """All that is known of a job.

    values: whether its arguments and its result are decoded, which takes long of many values; else there are none.

    place_status, lost, worker_label, due_ms: what the store says of where it is (`Place`); they count only for one
    that has not ended. A place of None is then shown as queued: between two places it will be there next.
    """
    doc = record.doc
    status = record.status
    ended = status is not None
    if status is None:
        status = place_status or JobStatus.QUEUED
        finished_ms, worker = None, worker_label
    elif doc.finished_ms is None and doc.history:
        finished_ms, worker = doc.history[-1].finished_ms, doc.history[-1].worker
    else:
        finished_ms, worker = doc.finished_ms, doc.worker
    last = None if doc.error is None else _error(doc.error)
    return JobInfo(
        id=record.job_id,
        task=doc.task,
        queue=doc.queue,
        priority=doc.priority,
        status=status,
        reason=doc.reason,
        arguments={"args": _plain(doc.args, []), "kwargs": _plain(doc.kwargs, {})} if values else {},
        result=result(doc) if values else None,
        error=last,
        attempt=doc.attempt + (status is JobStatus.RUNNING),
        attempts=_attempts(record, last),
        lost=doc.lost if ended else lost,
        enqueued_at=instant(record.enqueued_ms),
        due_at=_due_at(record, None if ended else due_ms),
        started_at=instant(doc.history[-1].started_ms) if doc.history else None,
        finished_at=None if finished_ms is None else instant(finished_ms),
        worker=worker,
        headers=doc.headers or {},
    )


def result(doc: Document) -> Any:
    """A job's result as a plain value; None while there is none."""
    return None if doc.result is NO_RESULT else _plain(doc.result, None)


def instant(unix_ms: int) -> datetime:
    """Unix milliseconds as an aware datetime in UTC, without a rounding error; one past year 9999 is year 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=unix_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _due_at(record: Record, due_ms: int | None) -> datetime | None:
    doc = record.doc
    if due_ms is not None:
        return instant(due_ms)
    if doc.due_ms is not None:
        return instant(doc.due_ms)
    return None if doc.delay_ms is None else instant(record.enqueued_ms + doc.delay_ms)


def _error(raised: Raised) -> ErrorInfo:
    # A worker writes no more of them; whoever else has written a record may have.
    frames = tuple(Frame(line.file, line.line, line.function, line.code) for line in raised.frames[-MAX_FRAMES:])
    return ErrorInfo(type=raised.type, message=raised.message, frames=frames)


def _attempts(record: Record, last: ErrorInfo | None) -> tuple[AttemptInfo, ...]:
    """The history. The last attempt's error with its frames, if the record's error is that one's."""
    shown: list[AttemptInfo] = []
    history = record.doc.history[-MAX_ATTEMPTS_KEPT:]
    for index, past in enumerate(history, 1):
        error = None if past.error_type is None else ErrorInfo(type=past.error_type, message=past.error_message or "")
        if error is not None and index == len(history) and last is not None and last.type == error.type:
            error = last if last.message.startswith(error.message) else error
        shown.append(
            AttemptInfo(
                number=past.number,
                started_at=instant(past.started_ms),
                finished_at=instant(past.finished_ms),
                worker=past.worker,
                error=error,
            )
        )
    return tuple(shown)


def _plain(raw: Raw, otherwise: Any) -> Any:
    """JSON as plain values; a person who looks at a broken job shall see the rest of it."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return otherwise
