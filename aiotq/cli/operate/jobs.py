"""`aiotq jobs`: jobs by state, queue, task, error and time, newest first, a page at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.choice import chosen, unknown, words
from aiotq.cli.operate.moments import ago
from aiotq.cli.operate.reach import Where, ask, hint, say, say_json
from aiotq.cli.operate.table import Column, table
from aiotq.cli.text import duration
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Cell, Sheet
    from aiotq.inspection.values import JobFilter, JobSummary, Page
    from aiotq.inspector import Inspector

LIMIT = 50

HELP = """\
aiotq jobs [options]

Jobs, newest first: running, queued and scheduled ones, the last 10,000 that have ended, and dead
letters. The options of "Which jobs" narrow them down. An id is shown by its end, by which the other
commands find it; -v and --json have it whole."""
EXAMPLE = """\
Exit codes: 0 fine, 1 no server answers, 2 used wrongly.

Example: what has failed in the last hour because of a connection?

  aiotq jobs --state failed --since 1h --error ConnectionError"""

COLUMNS = (
    Column(title="JOB"),
    Column(title="STATE"),
    Column(title="TASK", least=10),
    Column(title="QUEUE", least=6, spare=2),
    Column(title="ATTEMPT", right=True, spare=3),
    Column(title="WHEN", right=True),
    Column(title="TOOK", right=True, spare=4),
    Column(title="ERROR", least=12, most=72, spare=1),
)
STYLES = {
    JobStatus.SCHEDULED: "dim",
    JobStatus.QUEUED: "",
    JobStatus.RUNNING: "blue",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "bold red",
    JobStatus.CANCELLED: "yellow",
}


def jobs(
    *,
    state: options.State = None,
    queue: options.Queue = None,
    task: options.Task = None,
    error: options.Error = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = LIMIT,
    cursor: options.Cursor = None,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Show a page of them."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    which = chosen(status=state, queue=queue, task=task, error=error, since=since, until=until)
    found, meant = ask(where, lambda inspector: _page(inspector, which, cursor, limit))
    now = datetime.now(UTC)
    if as_json:
        say_json(found)
    else:
        say(where, lambda sheet: lines(found, sheet, now, which=which))
    if found.cursor is not None and not as_json:
        hint(f"more: {where.command('jobs', *again(which, limit=limit), '--cursor', found.cursor)}")
    if meant is not None:
        hint(meant)
    return EXIT_OK


async def _page(
    inspector: Inspector, which: JobFilter, cursor: str | None, limit: int
) -> tuple[Page[JobSummary], str | None]:
    """The page, and if there is nothing to see, a word on what may have been meant."""
    found = await inspector.jobs(which, cursor=cursor, limit=limit)
    return found, None if found.items or found.cursor is not None else await unknown(inspector, which)


def again(which: JobFilter, *, limit: int) -> list[str]:
    """The options that a person would give again for the next page."""
    return words(which) if limit == LIMIT else [*words(which), "--limit", str(limit)]


def lines(found: Page[JobSummary], sheet: Sheet, now: datetime, *, which: JobFilter) -> list[Line]:
    """The table, or that there is nothing to show."""
    if found.items:
        return table(COLUMNS, [row(job, sheet, now) for job in found.items], sheet)
    if found.cursor is not None:
        return [((f"none among the {found.looked:,} that were looked at; there are more", ""),)]
    said = "no job matches" if words(which) else "there is no job: nothing was enqueued here, or what ended has expired"
    return [((f"{said} ({found.looked:,} looked at)" if found.looked else said, ""),)]


def row(job: JobSummary, sheet: Sheet, now: datetime) -> list[Cell]:
    """A job as a row of the table."""
    name = job.task if sheet.look.verbose else parts.short_task(job.task)
    error = job.error or ("" if job.reason in {None, "error"} else job.reason) or ""
    if not job.readable:
        name, error = name or "?", "its record can't be read here: aiotq job shows it raw"
    return [
        (parts.id_of(job.id, sheet), "bold"),
        (job.status.value, STYLES[job.status]),
        parts.told(name),
        parts.told(job.queue),
        str(job.attempt) if job.attempt else "",
        when(job, now),
        took(job, now),
        parts.told(error),
    ]


def when(job: JobSummary, now: datetime) -> str:
    """Since when, or from when on, it is what it is."""
    if job.status is JobStatus.SCHEDULED:
        return ago(job.due_at, now)
    if job.status.ended:
        return ago(job.finished_at or job.enqueued_at, now)
    return ago(job.started_at if job.status is JobStatus.RUNNING and job.started_at else job.enqueued_at, now)


def took(job: JobSummary, now: datetime) -> str:
    """How long its last attempt took, or has taken."""
    if job.started_at is None or not (job.status.ended or job.status is JobStatus.RUNNING):
        return ""
    end = job.finished_at if job.status.ended else now
    return "" if end is None else duration(max((end - job.started_at).total_seconds(), 0))
