"""An act on all jobs that a filter takes: in chunks, a few jobs at once, with one entry in the audit."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from aiotq import record as records
from aiotq.errors import AiotqError, InvalidRecord, JobNotFound, StoreError, StoreUnavailable
from aiotq.inspection import filters, words
from aiotq.inspection.hand import DONE, TOLD, Kept, act_as_seen, act_on
from aiotq.inspection.values import Bulk
from aiotq.inspection.walking import walk
from aiotq.store.contract import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.inspection.acts import Act
    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.desk import Desk
    from aiotq.inspection.places import Entry
    from aiotq.inspection.seen import Seen
    from aiotq.inspection.values import Came, JobFilter
    from aiotq.inspection.walking import Chunk

AT_ONCE = 25  # jobs: requests of as many go out together


async def act_on_all(
    desk: Desk,
    act: Act,
    wanted: JobFilter,
    *,
    queue: str | None = None,
    as_of: Moment | None = None,
) -> Bulk:
    """as_of: those that there were at that moment; None: now.

    Raises UsageError (the filter; or records are signed, and no keys), StoreError, with how many were done.
    """
    wanted = filters.checked(wanted)
    kept = Kept(desk, f"{act} all", described(wanted) + ("" if queue is None else f" to {queue}"))
    generation = records.generation(os.urandom(4))  # of all records that it leaves, so that the walk knows them
    done = skipped = looked = told = unclear = 0
    try:
        await kept.begin()
        async for chunk in walk(desk, act, wanted, as_of=as_of, generation=generation):
            looked += chunk.looked
            where = await _places(desk, chunk)
            for first in range(0, len(chunk.jobs), AT_ONCE):
                some = list(zip(chunk.jobs, where, strict=True))[first : first + AT_ONCE]
                came, errors = await _together(desk, act, some, queue, generation)
                changed, told = sum(one in (DONE, TOLD) for one in came), told + came.count(TOLD)
                done, skipped = done + changed, skipped + len(came) - changed
                if errors:
                    unclear = sum(isinstance(one, StoreUnavailable) and one.sent for one in errors)
                    raise errors[0]
    except AiotqError as error:
        more = f", or up to {unclear} more" if unclear else ""
        await kept.failed(error, f"failed after {words.jobs(done)}{more}: {error}")
        error.add_note(f"of {words.jobs(done)}{more}{',' if more else ''} it had been done before")
        raise
    except asyncio.CancelledError:  # what has been sent is done
        with suppress(StoreError):
            await kept.keep(f"stopped after {words.jobs(done)}, or up to {AT_ONCE} more")
        raise
    await kept.keep(words.jobs(done) + (f", {skipped} skipped" if skipped else ""))
    return Bulk(done=done, skipped=skipped, looked=looked, told=told)


async def _places(desk: Desk, chunk: Chunk) -> Sequence[Place]:
    """Where each lies, as it was seen."""
    if not chunk.jobs:
        return ()
    losses = await desk.operator.losses([job.summary.id for job in chunk.jobs])
    return [_place(job.entry, lost, chunk.now_ms) for job, lost in zip(chunk.jobs, losses, strict=True)]


def _place(entry: Entry, lost: int, now_ms: int) -> Place:
    if entry.status.ended:
        return Place(status=None, now_ms=now_ms)
    return Place(
        status=entry.status,
        worker_id=entry.worker_id,
        worker=entry.worker,
        due_ms=entry.due_ms,
        line=f"{entry.queue}:{entry.place}",
        lost=lost,
        now_ms=now_ms,
    )


async def _together(
    desk: Desk, act: Act, jobs: Sequence[tuple[Seen, Place]], queue: str | None, new: str
) -> tuple[list[Came | None], list[BaseException]]:
    """What each came to (None: nothing), and the errors of those that failed. All have been tried by then."""
    trials = (_one(desk, act, job, place, queue, new) for job, place in jobs)
    tried = await asyncio.gather(*trials, return_exceptions=True)
    errors = [one for one in tried if isinstance(one, BaseException)]
    return [one for one in tried if not isinstance(one, BaseException)], errors


async def _one(desk: Desk, act: Act, job: Seen, place: Place, queue: str | None, new: str) -> Came | None:
    """new: the generation of what is left of it."""
    if job.header is None:  # it is no record
        return None
    _, state, generation, _ = job.header
    try:
        if job.record is not None:
            came = await act_as_seen(desk, act, job.record, place, queue=queue, generation=new)
            if came is not None:
                return came
        only = f"{state}{generation}".encode()
        return await act_on(desk, act, job.summary.id, queue=queue, only=only, generation=new)
    except (JobNotFound, InvalidRecord):
        return None


def described(wanted: JobFilter) -> str:
    """A filter as the audit shows it: "status=failed task=send", or "all"."""
    given = [
        ("status", wanted.status),
        ("queue", wanted.queue),
        ("task", wanted.task),
        ("error", wanted.error),
        ("since", wanted.since and wanted.since.isoformat(timespec="seconds")),
        ("until", wanted.until and wanted.until.isoformat(timespec="seconds")),
    ]
    return " ".join(f"{name}={value}" for name, value in given if value is not None) or "all"
