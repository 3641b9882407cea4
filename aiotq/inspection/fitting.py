"""Whether what waits would run with the code that was loaded: each job is looked at as a worker of this app would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.errors import AiotqError, InvalidRecord, SerializationError
from aiotq.inspection.listing import walk
from aiotq.inspection.values import Fit, JobFilter, Misfit
from aiotq.job import JobStatus
from aiotq.limits import MAX_BESIDE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from aiotq.inspection.desk import Desk
    from aiotq.inspection.seen import Seen
    from aiotq.record import Record

MOST_MISFITS = 1_000
MOST_WHY = 300  # characters
MOST_COMPARED = 1_000  # names of tasks that are gone, with those that are there
MOST_SEEN = 50_000  # scheduled jobs that are remembered: those due next, which may be queued before that is walked
PLACES = (
    JobStatus.SCHEDULED,
    JobStatus.QUEUED,
)  # in this order: a job that becomes due meanwhile comes twice, not never


async def fit(desk: Desk, *, queues: Collection[str] | None, progress: Callable[[int], None] | None) -> Fit:
    """All of it, as one value."""
    misfits, more, looked = list[Misfit](), 0, 0
    async for some, bad in misfitting(desk, queues=queues):
        looked += some
        room = MOST_MISFITS - len(misfits)
        misfits += bad[:room]
        more += len(bad[room:])
        if progress is not None:
            progress(looked)
    return Fit(looked=looked, misfits=tuple(misfits), more=more)


async def misfitting(desk: Desk, *, queues: Collection[str] | None) -> AsyncIterator[tuple[int, list[Misfit]]]:
    """The same in chunks: how many jobs were looked at, and those of them that would fail.

    One that becomes due meanwhile, and was not among the first MOST_SEEN of the schedule, is looked at twice.
    """
    only = None if queues is None else {checks.queue("queues", name) for name in queues}
    seen_ids: set[str] = set()
    nearest = _Nearest(desk)
    for status in PLACES:
        async for chunk, _ in walk(desk, JobFilter(status=status)):
            ours = [one for one in chunk if only is None or one.summary.queue in only]
            fresh = [one for one in ours if one.summary.id not in seen_ids]
            if status is JobStatus.SCHEDULED and len(seen_ids) < MOST_SEEN:
                seen_ids.update(one.summary.id for one in fresh)
            bad: list[Misfit] = []
            for one in fresh:
                why = await _why_not(desk, one, nearest)
                if why is not None:
                    bad.append(_misfit(one, why))
            if fresh:
                yield len(fresh), bad


def _misfit(one: Seen, why: str) -> Misfit:
    job = one.summary
    return Misfit(id=job.id, task=job.task, queue=job.queue, status=job.status, why=why[:MOST_WHY])


class _Nearest:
    """What looks like a name that is gone: looked for once, and of MOST_COMPARED names, as anybody can make some up."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._found = desk, dict[str, tuple[str, ...]]()

    def of(self, task: str) -> tuple[str, ...]:
        """Up to three that are there."""
        found = self._found.get(task)
        if found is None and len(self._found) < MOST_COMPARED and len(task) <= checks.LONGEST_TASK:
            found = self._found[task] = self._desk.core.registry.nearest(task)
        return found or ()


async def _why_not(desk: Desk, one: Seen, nearest: _Nearest) -> str | None:
    """Why a worker of this app would fail it; None: it would not."""
    found = one.record
    if found is None:
        try:
            found = await _whole(desk, one)
        except InvalidRecord as error:
            return f"unreadable: {error}"
        if found is None:  # it has gone meanwhile
            return None
    signer = desk.core.signer
    if signer is not None and found.doc.queue != one.entry.queue:
        return f"signed for the queue {found.doc.queue!r}"
    return _unfit(desk, found, nearest)


async def _whole(desk: Desk, one: Seen) -> Record | None:
    """A record that is too large for a list. Raises InvalidRecord, of one that was broken as well."""
    job_id = one.summary.id
    data = await desk.store.read(job_id, at_most=desk.most + 1)
    if not data:
        return None
    found = desk.decoded(job_id, data)
    return found if found.generation == one.entry.generation else None


def _unfit(desk: Desk, found: Record, nearest: _Nearest) -> str | None:
    """Why its task would not take it."""
    doc, registry, settings = found.doc, desk.core.registry, desk.core.settings
    task = registry.get(doc.task)
    if task is None:
        meant = nearest.of(doc.task)
        return "unknown task" + (f"; did you mean {' or '.join(meant)}?" if meant else "")
    size = len(memoryview(doc.args)) + len(memoryview(doc.kwargs))
    if size > settings.max_payload or found.size > settings.max_payload + MAX_BESIDE:
        return f"its arguments take {size:,} bytes, and max_payload is {settings.max_payload:,}"
    try:
        task.codec.decode_arguments(doc.args, doc.kwargs)
    except SerializationError as error:
        return _plain(str(error), task.fn.__name__)
    except AiotqError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a user's own class may raise anything, and would in the worker
        return f"its arguments can't be decoded: {type(error).__name__}"
    return None


def _plain(text: str, name: str) -> str:
    """What a worker would say, without what is known here."""
    said = text.partition("; the job is of another version")[0].removeprefix(f"{name}: ")
    return said.removeprefix("the arguments do not fit: ").removeprefix(f"{name}() ")
