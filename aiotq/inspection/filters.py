"""Which jobs a filter takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiotq import checks
from aiotq.errors import UsageError
from aiotq.inspection.values import JobFilter
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from aiotq.document import Document
    from aiotq.inspection.places import Entry
    from aiotq.inspection.values import JobSummary

LONGEST = 500  # characters of what is looked for


def checked(given: object) -> JobFilter:
    """A filter as its caller gives it. Raises UsageError for what it can't be."""
    if not isinstance(given, JobFilter):
        raise UsageError(f"filter={checks.shown(given)} is none; pass a JobFilter(...)")
    if given.status is not None and not isinstance(cast("object", given.status), JobStatus):
        raise UsageError(f"status={checks.shown(given.status)} is none; pass one of {', '.join(JobStatus)}, or None")
    if given.queue is not None:
        checks.queue("queue", given.queue)
    for name, text in (("task", given.task), ("error", given.error)):
        if text is not None and not (isinstance(cast("object", text), str) and 0 < len(text) <= LONGEST):
            raise UsageError(f"{name}={checks.shown(text)} is not allowed; pass 1 to {LONGEST} characters, or None")
    for name, instant in (("since", given.since), ("until", given.until)):
        if instant is not None:
            checks.instant_ms(name, instant)
    return given


def may_match(wanted: JobFilter, entry: Entry) -> bool:
    """Whether its record is worth a look."""
    if entry.job_id is None:
        return False
    if wanted.queue is not None and entry.queue is not None and entry.queue != wanted.queue:
        return False
    return wanted.status is None or entry.status is wanted.status


def by_place_alone(wanted: JobFilter) -> bool:
    """Whether it takes all that lies in a place."""
    return wanted == JobFilter(status=wanted.status)


def takes(wanted: JobFilter, doc: Document) -> bool:
    """Whether it may take a job of that record: a look that is cheaper than `matches`."""
    if wanted.task is not None and not of_task(doc.task, wanted.task):
        return False
    return wanted.error is None or _has_error(doc, wanted.error)


def matches(wanted: JobFilter, job: JobSummary, doc: Document | None) -> bool:
    """Whether it takes that job. doc: as far as its record can be read."""
    if wanted.status is not None and job.status is not wanted.status:
        return False
    if wanted.queue is not None and job.queue != wanted.queue:
        return False
    if wanted.task is not None and not of_task(job.task, wanted.task):
        return False
    if wanted.error is not None and (doc is None or not _has_error(doc, wanted.error)):
        return False
    when = job.finished_at if job.status.ended else job.enqueued_at
    if wanted.since is not None and (when is None or when < wanted.since):
        return False
    return wanted.until is None or (when is not None and when <= wanted.until)


def of_task(name: str, wanted: str) -> bool:
    """Whether a task is meant: by its name, or the end of it after ":" or "."."""
    return name == wanted or name.endswith((f":{wanted}", f".{wanted}"))


def _has_error(doc: Document, wanted: str) -> bool:
    error = doc.error
    return error is not None and (error.type == wanted or wanted.casefold() in error.message.casefold())
