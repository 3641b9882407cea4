"""What a person does to jobs and queues: the acts of `app.inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.errors import UsageError
from aiotq.inspection import bulk, hand, purging
from aiotq.inspection.acts import Act
from aiotq.inspection.arrivals import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from aiotq.inspection.desk import Desk
    from aiotq.inspection.values import Bulk, Came, JobFilter, Purged


class Acts:
    """Each compares and sets: nothing is done to a job that has moved on meanwhile. Repeating one does no harm.

    Each leaves an entry in the audit, also if nothing came of it; one on many jobs leaves one. All work on a full
    Redis. They may raise StoreError; after StoreUnavailable it is not known whether it was done: do it again.
    Those on one job raise JobNotFound, UsageError (the job's record is signed, and this app has no keys), and but for
    `discard` InvalidRecord (the record can't be read).
    """

    __slots__ = ("_desk",)

    _desk: Desk

    async def retry(self, job_id: str) -> bool:
        """Have a job that has failed run again, from its first attempt. True also if that was done before.

        False if it has not failed, or not enough of an unreadable record is left.
        """
        return (await self.act(Act.RETRY, job_id)).done

    async def cancel(self, job_id: str) -> bool:
        """Have a job never run, or be stopped at its next await if it is running. False if it has ended otherwise."""
        return (await self.act(Act.CANCEL, job_id)).done

    async def discard(self, job_id: str) -> bool:
        """Throw a dead letter away, any other job that has ended, or one that waits and can't be read here. Else False.

        It is not shown any more. For a minute something short is left, for late repeats of what enqueued it.
        """
        return (await self.act(Act.DISCARD, job_id)).done

    async def promote(self, job_id: str) -> bool:
        """Have a scheduled job, or a retry that waits, be due now. True if it is queued; else False."""
        return (await self.act(Act.PROMOTE, job_id)).done

    async def requeue(self, job_id: str, *, queue: str | None = None) -> bool:
        """Put a job that waits, in a line or in the schedule, to the back of its queue, or of another one.

        Its priority stays. A suspect (its worker vanished twice or more) becomes an ordinary job again: how often that
        happened is forgotten. False if it runs, or has ended; the audit says why.
        """
        return (await self.act(Act.REQUEUE, job_id, queue=queue)).done

    async def act(self, act: Act, job_id: str, *, queue: str | None = None) -> Came:
        """The act of that name, with what it came to: a job that runs is not cancelled yet, its worker was told to.

        queue: of a requeue, the one to go to.
        """
        wanted = None if queue is None else checks.queue("queue", queue)
        return await hand.act(self._desk, _known(act), checks.job_id("job_id", job_id), queue=wanted)

    async def retry_all(self, filter: JobFilter) -> Bulk:
        """`retry` each dead letter that a filter takes.

        Like all of these it takes what there is when it begins, in chunks of at most 100 jobs, while others go on. What
        has moved on by the time that it is met is skipped. Raises UsageError for a filter that can't be right.
        """
        return await self.act_on_all(Act.RETRY, filter)

    async def cancel_all(self, filter: JobFilter) -> Bulk:
        """`cancel` each job that waits or runs, and that a filter takes."""
        return await self.act_on_all(Act.CANCEL, filter)

    async def discard_all(self, filter: JobFilter) -> Bulk:
        """`discard` each dead letter that a filter takes, and each of the last 10,000 jobs that ended."""
        return await self.act_on_all(Act.DISCARD, filter)

    async def promote_all(self, filter: JobFilter) -> Bulk:
        """`promote` each scheduled job that a filter takes."""
        return await self.act_on_all(Act.PROMOTE, filter)

    async def requeue_all(self, filter: JobFilter, *, queue: str | None = None) -> Bulk:
        """`requeue` each job that waits, in a line or in the schedule, and that a filter takes."""
        return await self.act_on_all(Act.REQUEUE, filter, queue=queue)

    async def act_on_all(
        self, act: Act, filter: JobFilter, *, queue: str | None = None, as_of: Moment | datetime | None = None
    ) -> Bulk:
        """The act of that name on each job that it may be for, and that a filter takes.

        as_of: a `moment()`, or an instant of `now()`: what came, failed or ended since then is left as it is, as far as
        that can be told, so that what a person confirms is no more than what was counted; by an instant alone that is
        told of less. None: that in which this begins.
        """
        wanted = None if queue is None else checks.queue("queue", queue)
        return await bulk.act_on_all(self._desk, _known(act), filter, queue=wanted, as_of=_moment(as_of))

    async def purge(self, queue: str, *, as_of: Moment | datetime | None = None) -> Purged:
        """End all that waits in a queue, but for what is scheduled or comes meanwhile: cancelled, with reason "purged".

        as_of: a `moment()`, or an instant of `now()`; what came since then stays, as far as that can be told; by an
        instant alone that is told of less. None: that in which this begins.

        In chunks, so that others go on; a job is either run or purged. What is left of each is short, without its
        arguments, and goes after a minute to ten. Tickets of jobs that are gone already are cleared away. Raises
        UsageError (signed, and no keys).
        """
        return await purging.purge(self._desk, checks.queue("queue", queue), as_of=_moment(as_of))

    async def pause(self, queue: str) -> bool:
        """Have nothing more claimed from a queue; what runs goes on. False if it was paused already."""
        return await self._hold(queue, pause=True)

    async def resume(self, queue: str) -> bool:
        """Have jobs claimed from a queue again. False if it was not paused."""
        return await self._hold(queue, pause=False)

    async def _hold(self, queue: str, *, pause: bool) -> bool:
        name, action = checks.queue("queue", queue), "pause" if pause else "resume"
        kept, store = hand.Kept(self._desk, action, name), self._desk.store
        changed = await (store.pause if pause else store.resume)(name, audit=kept.entry("done"))
        if not changed:
            await kept.keep("paused already" if pause else "not paused")
        return changed


def _moment(as_of: Moment | datetime | None) -> Moment | None:
    """Raises UsageError."""
    if as_of is None:
        return None
    moment = as_of if isinstance(as_of, Moment) else Moment(at=as_of)
    checks.instant_ms("as_of", moment.at)
    return moment


def _known(act: object) -> Act:
    """Raises UsageError."""
    if act in tuple(Act):
        return Act(act)
    raise UsageError(f"act={checks.shown(act)} is none; pass one of {', '.join(Act)}")
