"""Which jobs a person means: by filters, or by the end of an id."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.cli.mistake import EXIT_FAILURE, Mistake
from aiotq.cli.operate import a_queue
from aiotq.cli.operate.moments import Moment, instant
from aiotq.cli.operate.parts import short_task, told
from aiotq.cli.text import printable
from aiotq.inspection.filters import of_task
from aiotq.inspection.values import JobFilter
from aiotq.likeness import closest

if TYPE_CHECKING:
    from aiotq.inspector import Inspector
    from aiotq.job import JobStatus

WHOLE = re.compile(r"[0-9a-f]{32}")  # an id that aiotq has made
MOST_SHOWN = 10
HOURS = 24  # in which a task that was meant has run
LOOKED = "among what waits first, runs, is scheduled, ended among the last 10,000, or is dead"


def chosen(
    *,
    status: JobStatus | None = None,
    queue: str | None = None,
    task: str | None = None,
    error: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> JobFilter:
    """What the options say, as one value. Raises UsageError, Mistake."""
    now = datetime.now(UTC)
    first, last = instant(since, now), instant(until, now)
    if first is not None and last is not None and first > last:
        raise Mistake(
            f"--since is {first.astimezone():%Y-%m-%d %H:%M:%S} and --until {last.astimezone():%Y-%m-%d %H:%M:%S}: "
            "nothing is between them",
            "--since is the earlier one: --since 2h --until 1h",
        )
    return JobFilter(
        status=status,
        queue=None if queue is None else checks.queue("queue", queue),
        task=task,
        error=error,
        since=first,
        until=last,
    )


def words(which: JobFilter, *, since: Moment | None = None, until: Moment | None = None) -> list[str]:
    """The options that say it, instants spelt out: the same jobs, whenever it is asked again.

    since, until: what was given, to have that said instead.
    """
    given = {
        "--state": None if which.status is None else which.status.value,
        "--queue": which.queue,
        "--task": which.task,
        "--error": which.error,
        "--since": _said(which.since, since),
        "--until": _said(which.until, until),
    }
    return [word for name, value in given.items() if value is not None for word in (name, value)]


def _said(at: datetime | None, given: Moment | None) -> str | None:
    if given is not None and given.text:
        return given.text
    return None if at is None else at.isoformat(timespec="milliseconds")


async def unknown(inspector: Inspector, which: JobFilter) -> str | None:
    """Of a filter that no job matches, in one line that there is no such queue or task, and which was meant."""
    if which.queue is not None and (missing := await a_queue.missing(inspector, which.queue)) is not None:
        return missing
    if which.task is None:
        return None
    ran = await inspector.tasks(hours=HOURS)  # the busiest first
    names = dict.fromkeys(name for task in ran for name in (task.name, short_task(task.name)))
    if any(of_task(name, which.task) for name in names):
        return None
    close = closest(which.task, names, most=1, cutoff=0.6)
    meant = f"; did you mean {told(close[0])}?" if close else ""
    return f"no job of a task {told(repr(which.task))} was found{meant}"


async def one_id(inspector: Inspector, text: str) -> str:
    """The id of the one job that is meant. Raises Mistake if there are several, or none."""
    text = text.strip()
    checks.job_id("ID", text)
    if WHOLE.fullmatch(text):
        return text
    found = await inspector.find(text)
    if text in found:
        return text
    if len(found) == 1:
        return found[0]
    if found:
        shown = [f"  {printable(one)}" for one in found[:MOST_SHOWN]]
        if len(found) > MOST_SHOWN:
            shown.append(f"  and {len(found) - MOST_SHOWN:,} more")
        raise Mistake(
            f"{len(found):,} jobs are named by {text!r}", "name more of the id:", *shown, exit_code=EXIT_FAILURE
        )
    raise nowhere(text)


def nowhere(text: str) -> Mistake:
    """That there is no such job, and where it was looked for."""
    return Mistake(
        f"there is no job {text!r}",
        f"looked {LOOKED}; a job that ended is kept as long as its result_ttl says (failure_ttl if it failed)",
        exit_code=EXIT_FAILURE,
    )
