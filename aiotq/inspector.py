"""`app.inspect`: the read and admin side, under the command line, the dashboard and the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.inspection import arrivals, detail, fitting, listing, machine, reads, tallies, totals
from aiotq.inspection import checkup as doctor
from aiotq.inspection import overview as summing
from aiotq.inspection.acting import Acts
from aiotq.inspection.desk import Desk
from aiotq.inspection.values import JobFilter, Period
from aiotq.shown import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.desk import Core, Redaction
    from aiotq.inspection.values import (
        AuditEntry,
        Check,
        Counts,
        FailureGroup,
        Fit,
        JobDetail,
        JobSummary,
        Overview,
        Page,
        QueueInfo,
        ServerInfo,
        TaskInfo,
        Totals,
        WorkerInfo,
    )

ANY = JobFilter()


class Inspector(Acts):
    """Sees all that an app's namespace holds, and changes it. `app.inspect` gives one.

    Every read is bounded, however many jobs there are: lists come in pages. Every act leaves an entry in the audit.
    All of it may raise StoreError; jobs and names that can't be right raise UsageError.
    """

    __slots__ = ()

    def __init__(self, core: Core) -> None:
        self._desk = Desk(core=core)

    def __repr__(self) -> str:
        return f"<Inspector of {self._desk.core.settings.namespace}>"

    def acting(self, by: str) -> Inspector:
        """One that signs its acts so in the audit: "ada@host (cli)". Else it is the user who runs this program."""
        return self._with(replace(self._desk, by=checks.signature("by", by)))

    def redacting(self, hook: Redaction) -> Inspector:
        """One that shows of a job's arguments what `hook(task, {"args": [...], "kwargs": {...}})` returns.

        Parameters that a task has declared `sensitive` are masked in any case, before the hook sees them. Of more than
        50,000 values it is not asked, and none is shown.
        """
        return self._with(replace(self._desk, hook=hook))

    def _with(self, desk: Desk) -> Inspector:
        other = Inspector(desk.core)
        other._desk = desk
        return other

    # --- what there is ------------------------------------------------------------------------------------------

    async def overview(self) -> Overview:
        """One screen: is all well, and if not, why, and what to do about it."""
        return await summing.overview(self._desk)

    async def queues(self) -> tuple[QueueInfo, ...]:
        """All queues that ever had a job, are paused, or have a worker; by name, at most 1,000."""
        return await reads.queues(self._desk)

    async def queue(self, name: str) -> QueueInfo:
        """One queue, whether or not it ever had a job."""
        return await reads.queue(self._desk, name)

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """All workers, by label; at most 1,000."""
        return await reads.workers(self._desk)

    async def jobs(
        self,
        filter: JobFilter = ANY,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[JobSummary]:
        """A page of the jobs that a filter takes: those running, queued (by queue and priority), scheduled (what is due
        next first), ended (the last 10,000) and dead, in this order; else the newest first.

        cursor: the last page's. limit: 1 to 500. A filter that few match is looked at in steps: a page may be short, or
        empty, before the end, which is where `.cursor` is None. Raises UsageError.
        """
        return await listing.page(self._desk, filter, cursor=cursor, limit=limit)

    async def job(self, job_id: str, *, values: bool = True, texts: bool = True) -> JobDetail:
        """All that is known of a job: its arguments as they may be read, each attempt, its logs. Raises JobNotFound.

        values: whether `.info` has its arguments and result as values; to decode a million bytes takes up to 0.2 s.
        texts: whether `.arguments` and `.result` have them pretty-printed. What is not wanted is empty, or None.
        """
        return await detail.job(self._desk, job_id, values=values, texts=texts)

    async def dead(
        self,
        filter: JobFilter = ANY,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[JobSummary]:
        """The same of the dead letters: jobs that failed, kept for a person to look at."""
        return await listing.dead(self._desk, filter, cursor=cursor, limit=limit)

    async def ended(self, *, limit: int = 50) -> tuple[JobSummary, ...]:
        """Those that ended last, the latest first. limit: 1 to 500."""
        return await listing.ended(self._desk, limit=limit)

    async def find(self, text: str) -> tuple[str, ...]:
        """Ids of jobs that end with a text, or begin with it, of those that are shown: at most 20 of them.

        A log shows the last 6 characters of an id.
        """
        return await listing.find(self._desk, text)

    async def count(self, filter: JobFilter = ANY) -> int:
        """How many jobs a filter takes. It walks through all that it has to, in chunks.

        Of all that is queued, or scheduled, it counts the places, a stale one (of a job that was cancelled) included.
        """
        return await listing.count(self._desk, filter)

    async def now(self) -> datetime:
        """This instant by Redis's clock, which all times of jobs are by: for `as_of` of an act on many."""
        return instant(await self._desk.operator.now_ms())

    async def moment(self, queue: str | None = None) -> Moment:
        """This instant, and where lines end: for `as_of` of an act on many, taken before they are counted.

        queue: of whose lines, if the act is for those alone; None: of all.
        """
        name = None if queue is None else checks.queue("queue", queue)
        return await arrivals.moment(self._desk.operator, name)

    # --- how it does --------------------------------------------------------------------------------------------

    async def counts(self, period: Period = Period.MINUTE, *, last: int = 60) -> tuple[Counts, ...]:
        """What happened in the last so many minutes (at most 180), hours (192) or days (400), oldest first."""
        return await tallies.counts(self._desk, period, last=last)

    async def totals(self) -> Totals:
        """What was counted since the first of the month (UTC), and how much is scheduled, due and dead."""
        return await totals.totals(self._desk)

    async def failures(self, *, hours: int = 1) -> tuple[FailureGroup, ...]:
        """Attempts that failed, by task and error, the most frequent first. hours: 1 to 192, in whole ones."""
        return await tallies.failures(self._desk, hours=hours)

    async def tasks(self, *, hours: int = 1) -> tuple[TaskInfo, ...]:
        """What became of each task's attempts, the busiest first; of this app's tasks also those without any."""
        return await tallies.tasks(self._desk, hours=hours)

    async def audit(self, *, cursor: str | None = None, limit: int = 50) -> Page[AuditEntry]:
        """What people have done, the newest first; the last 10,000 acts."""
        return await reads.audit(self._desk, cursor=cursor, limit=limit)

    async def checkup(self) -> tuple[Check, ...]:
        """The server, its settings and this user's rights, each with the line that mends what is amiss.

        It tries what a worker would have to do, on a key of its own; nothing is left of that.
        """
        return await doctor.checkup(self._desk)

    async def fit(self, *, queues: Collection[str] | None = None, progress: Callable[[int], None] | None = None) -> Fit:
        """Whether all that waits and is scheduled would run with the tasks of this app, as they are now.

        Each job is decoded and bound as a worker would. queues: only those. progress: called with how many jobs have
        been looked at, again and again. At most 1,000 misfits are listed.
        """
        return await fitting.fit(self._desk, queues=queues, progress=progress)

    async def server(self) -> ServerInfo:
        """The server, as it says of itself."""
        return await machine.server(self._desk.operator)
