"""The pages that are looked at. Each reads what it shows, and none changes anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response

from aiotq import checks
from aiotq.errors import JobNotFound, StoreError
from aiotq.inspection.values import JobFilter
from aiotq.job import JobStatus
from aiotq.web import charts, parse
from aiotq.web.board import AWAY_S, CHECKUP_EVERY_S, Board, away_text
from aiotq.web.errors import BadInput, NotThere, what_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from aiotq.inspection.values import JobSummary, Page, QueueInfo
    from aiotq.inspector import Inspector
    from aiotq.web.parse import Listing

WHOLE = re.compile(r"[0-9a-f]{32}")  # an id that aiotq has made


class Pages:
    """A method a page."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._page = board.page

    async def overview(self, request: Request) -> Response:
        """Is all well, and if not, why."""
        overview, away = await self._board.overview()
        return self._page(
            request,
            "overview.html",
            live="page=overview",
            active="overview",
            o=overview,
            away=away,
            series=charts.series(overview.minutes),
        )

    async def queues(self, request: Request) -> Response:
        """All queues."""
        overview, away = await self._board.overview()
        return self._page(request, "queues.html", live="page=queues", active="queues", o=overview, away=away)

    async def queue(self, request: Request) -> Response:
        """One queue, and the first jobs in it."""
        name = checks.queue("queue", request.path_params["name"])
        overview, away = await self._board.overview()
        queue = queue_of(overview.queues, name)
        jobs: tuple[JobSummary, ...] = ()
        try:
            jobs = (await self._inspector.jobs(JobFilter(queue=name), limit=parse.LIMITS[0])).items
        except StoreError as error:
            away = what_of(error)
        return self._page(
            request,
            "queue.html",
            live=urlencode({"page": "queue", "name": name}),
            active="queues",
            o=overview,
            queue=queue,
            jobs=jobs,
            away=away,
        )

    async def jobs(self, request: Request) -> Response:
        """Jobs by what the URL asks for."""
        listing = self._listing(request)
        page = await self._inspector.jobs(listing.filter, cursor=listing.cursor, limit=listing.limit)
        return await self._list(request, "jobs", listing, page)

    async def dead(self, request: Request) -> Response:
        """Jobs that have failed for good."""
        listing = self._listing(request)
        if listing.filter.status not in (None, JobStatus.FAILED):
            raise BadInput(
                "status= is no filter of dead letters", "all of them have failed; /jobs has those of any state"
            )
        page = await self._inspector.dead(listing.filter, cursor=listing.cursor, limit=listing.limit)
        return await self._list(request, "dead", listing, page)

    async def job(self, request: Request) -> Response:
        """One job."""
        job_id = checks.job_id("job", request.path_params["job_id"])
        try:
            job, away = await self._board.job(job_id)
        except JobNotFound:
            others = () if WHOLE.fullmatch(job_id) else await self._inspector.find(job_id)
            if set(others) <= {job_id}:  # it is still in a list, and has gone
                raise
            return self._found(request, job_id, others)
        return self._page(
            request,
            "job.html",
            live=urlencode({"page": "job", "name": job_id, "status": job.summary.status.value}),
            active="jobs",
            job=job,
            now=_now(),
            away=away,
        )

    async def find(self, request: Request) -> Response:
        """The job whose id is, or ends with, what was typed."""
        text = checks.job_id("q", request.query_params.get("q", "").strip())
        return self._found(request, text, await self._inspector.find(text))

    def _found(self, request: Request, text: str, found: tuple[str, ...]) -> Response:
        """Where the one job is whose id is so, or ends so; which there are; or that there is none."""
        base = request.scope["aiotq.visit"].base
        if len(found) == 1:
            return RedirectResponse(f"{base}/jobs/{quote(found[0], safe=':')}", status_code=303)
        if not found:
            raise NotThere(
                f"no job that is shown has an id like {text!r}",
                "its end is looked for among what waits first, runs, is scheduled, is dead, or ended of late; "
                "a whole id finds any job",
            )
        return self._page(request, "found.html", active="jobs", found=found, text=text)

    async def failures(self, request: Request) -> Response:
        """What fails, by task and error."""
        hours = parse.hours(request.query_params.get("hours"))
        groups = await self._inspector.failures(hours=hours)
        return self._page(
            request, "failures.html", active="failures", groups=groups, hours=hours, choices=parse.HOURS, now=_now()
        )

    async def workers(self, request: Request) -> Response:
        """All workers, and what they run."""
        overview, away = await self._board.overview()
        return self._page(request, "workers.html", live="page=workers", active="workers", o=overview, away=away)

    async def tasks(self, request: Request) -> Response:
        """What became of each task's attempts."""
        hours = parse.hours(request.query_params.get("hours"))
        tasks = await self._inspector.tasks(hours=hours)
        return self._page(request, "tasks.html", active="tasks", tasks=tasks, hours=hours, choices=parse.HOURS)

    async def server(self, request: Request) -> Response:
        """The server, and what `aiotq doctor` says of it."""
        seen = await self._board.hub.get("checkup", self._checkup, fresh_s=CHECKUP_EVERY_S, away_s=AWAY_S)
        server, checkup = seen.known()
        return self._page(request, "server.html", active="server", server=server, checkup=checkup, away=away_text(seen))

    async def audit(self, request: Request) -> Response:
        """What people did."""
        listing = self._listing(request)
        page = await self._inspector.audit(cursor=listing.cursor, limit=listing.limit)
        return self._page(request, "audit.html", active="audit", page=page, limit=listing.limit)

    # --- what they share ----------------------------------------------------------------------------------------

    @property
    def _inspector(self) -> Inspector:
        """What they read, unless it is known that it would be in vain. Raises StoreError."""
        self._board.expect_server()
        return self._board.inspector

    async def _checkup(self) -> tuple[Any, Any]:
        return await self._inspector.server(), await self._inspector.checkup()

    def _listing(self, request: Request) -> Listing:
        return parse.listing(request.query_params, _now())

    async def _list(self, request: Request, which: str, listing: Listing, page: Page[JobSummary]) -> Response:
        seen = await self._board.seen(away_s=AWAY_S)
        queues: tuple[QueueInfo, ...] = () if seen.value is None else seen.value.queues
        return self._page(
            request,
            "jobs.html",
            active=which,
            listing=listing,
            page=page,
            limits=parse.LIMITS,
            queues=[queue.name for queue in queues],
            tasks=self._board.task_names(),
            away=away_text(seen),
            here=f"/{which}" + (f"?{request.url.query}" if request.url.query else ""),
        )


def queue_of(queues: tuple[QueueInfo, ...], name: str) -> QueueInfo:
    """The queue of that name. Raises NotThere."""
    for queue in queues:
        if queue.name == name:
            return queue
    raise NotThere(f"there is no queue {name!r}", "a queue is there once a job was enqueued in it")


def _now() -> datetime:
    return datetime.now(UTC)
