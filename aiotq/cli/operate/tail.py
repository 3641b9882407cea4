"""`aiotq tail`: what happens to jobs, as it happens."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.cli.event import Event
from aiotq.cli.lines import MAX_TASK_WIDTH, Layout, event_lines, short_names
from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import a_queue, options
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.news import News
from aiotq.cli.operate.reach import (
    Where,
    app_of,
    away,
    hint,
    lost,
    opened,
    paper_of,
    reachable,
    say_json,
    signature,
    warnings_said,
)
from aiotq.cli.text import duration
from aiotq.errors import StoreError
from aiotq.inspection.values import JobFilter
from aiotq.job import ErrorInfo, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiotq.app import App
    from aiotq.cli.look import Line, Paper
    from aiotq.cli.operate.news import Happened
    from aiotq.inspection.values import JobSummary
    from aiotq.inspector import Inspector
    from aiotq.source import Source

EVERY_S = 1.0
MOST = 100  # jobs of each kind that are looked at in a turn

HELP = """\
aiotq tail [options]

What happens to jobs, as it happens: enqueued, started, retried, succeeded, failed, cancelled. It looks
once a second and costs the same whatever happens: where more does than it looks at, it says so. What
had ended before is not told. If the server goes away, it says so, and goes on when it is back."""
EXAMPLE = """\
Ends by Ctrl-C. Exit codes: 1 no server answers at the start, 2 used wrongly, 130 ended by Ctrl-C.

Example: only what fails of one task

  aiotq tail --task send_mail --state failed"""


def tail(
    *,
    state: options.State = None,
    queue: options.Queue = None,
    task: options.Task = None,
    every: options.Every = EVERY_S,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Tell it until it is ended."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    which = chosen(status=state, queue=queue, task=task)
    found = app_of(where)
    source = reachable(where, found.source())
    try:
        with warnings_said():
            asyncio.run(_follow(where, found, source, which, every_s=every))
    except StoreError as error:  # of the first look
        raise away(where, lost(error, source)) from error
    return EXIT_OK


async def _follow(where: Where, app: App, source: Source, which: JobFilter, *, every_s: float) -> None:
    async with opened(app):
        inspector, news, teller = app.inspect.acting(by=signature()), News(), _Teller(where)
        news.look(in_sight(await _look(inspector, which)))
        hint(f"watching {source}; Ctrl-C ends")
        if which.queue is not None and (missing := await a_queue.missing(inspector, which.queue)) is not None:
            hint(missing)
        while True:
            await asyncio.sleep(every_s)
            try:
                pages = await _look(inspector, which)
            except StoreError as error:
                teller.down(lost(error, source))
                continue
            teller.up()
            new = news.look(in_sight(pages))
            teller.tell(new, which)
            if overflowed(pages, new):
                teller.left_out()


async def _look(inspector: Inspector, which: JobFilter) -> list[Sequence[JobSummary]]:
    """What ended last, what runs, what waits to run again, what came last."""
    pages: list[Sequence[JobSummary]] = [await inspector.ended(limit=MOST)]
    for status in (JobStatus.RUNNING, JobStatus.SCHEDULED, JobStatus.QUEUED):
        wanted = JobFilter(status=status, queue=which.queue)
        pages.append((await inspector.jobs(wanted, limit=MOST)).items)
    return pages


def in_sight(pages: Sequence[Sequence[JobSummary]]) -> list[JobSummary]:
    """Each job once."""
    by_id = {job.id: job for page in reversed(pages) for job in page}  # it may have moved on meanwhile: the last counts
    return list(by_id.values())


def overflowed(pages: Iterable[Sequence[JobSummary]], new: Iterable[Happened]) -> bool:
    """Whether more has happened than was looked at: a page is full, and all of it is news."""
    ids = {one.job.id for one in new}
    return any(len(page) == MOST and all(job.id in ids for job in page) for page in pages)


class _Teller:
    """Writes what has happened, and that the server went and came."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._paper: Paper = paper_of(where)
        self._names: dict[str, None] = {}
        self._down_s: float | None = None

    def down(self, line: str) -> None:
        """The server is away. Told once."""
        if self._down_s is None:
            self._down_s = time.monotonic()
            self._said("store_down", f"{line}, trying again", "bold red")

    def up(self) -> None:
        """It answers."""
        if self._down_s is not None:
            self._said("store_up", f"connected again after {duration(time.monotonic() - self._down_s)}", "green")
            self._down_s = None

    def left_out(self) -> None:
        """Not all that has happened was told."""
        self._said(
            "left_out", f"more happened than the {MOST} of each kind that are looked at: some is left out", "dim"
        )

    def _said(self, event: str, line: str, style: str) -> None:
        if self._where.as_json:
            say_json({"event": event, "at": datetime.now(UTC), "message": line})
        else:
            self._paper.write([((line, style),)])

    def tell(self, happened: Iterable[Happened], which: JobFilter) -> None:
        """Write what of it is wanted."""
        for one in happened:
            if not wanted(one, which):
                continue
            if self._where.as_json:
                say_json({"event": one.what, "at": one.at, "attempt": one.attempt, "job": one.job})
            else:
                self._names.setdefault(one.job.task, None)
                self._paper.write(lines_of(one, self._layout()))

    def _layout(self) -> Layout:
        look = self._paper.look
        names = short_names(self._names)
        width = min(max(map(len, names.values())), MAX_TASK_WIDTH)
        return Layout(look=look, width=self._paper.width, clock_width=12 if look.terminal else 23, tasks=names,
                      task_width=width)  # fmt: skip


def wanted(one: Happened, which: JobFilter) -> bool:
    """Whether a person asked for this. A state stands for what brings a job there."""
    states = {"enqueued": JobStatus.QUEUED, "started": JobStatus.RUNNING, "retried": JobStatus.SCHEDULED}
    if which.status is not None and states.get(one.what, one.job.status) is not which.status:
        return False
    if which.queue is not None and one.job.queue != which.queue:
        return False
    name = one.job.task
    return which.task is None or name == which.task or name.endswith((f":{which.task}", f".{which.task}"))


def lines_of(one: Happened, layout: Layout) -> list[Line]:
    """As a worker's console shows it."""
    local = (one.at or datetime.now(UTC)).astimezone()
    day = "" if layout.clock_width == 12 else f"{local:%Y-%m-%d} "
    clock = f"{day}{local:%H:%M:%S}.{local.microsecond // 1000:03d}"
    return event_lines(event_of(one), layout, clock, frames=False)


def event_of(one: Happened) -> Event:
    """The same as an event of a worker's."""
    job = one.job
    error = None
    if job.error is not None and one.known:
        kind, _, message = job.error.partition(": ")
        error = ErrorInfo(type=kind, message=message)
    due = job.due_at or job.enqueued_at
    return Event(
        name=one.what,
        level=logging.WARNING if one.what in {"retried", "failed"} else logging.INFO,
        message=f"attempt {one.attempt} failed" if one.what == "retried" else f"in {job.queue}",
        job_id=job.id,
        task=job.task,
        queue=job.queue,
        attempt=one.attempt,
        waited_ms=_ms(due, job.started_at),
        took_ms=_ms(job.started_at, job.finished_at),
        delay_ms=_ms(one.at or datetime.now(UTC), job.due_at),
        error=error if one.what in {"retried", "failed"} else None,
        reason=job.reason,
    )


def _ms(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max((end - start).total_seconds() * 1000, 0)
