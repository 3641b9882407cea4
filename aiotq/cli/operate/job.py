"""`aiotq job ID`: all that is known of one job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from aiotq.cli.mistake import EXIT_OK, Mistake
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.choice import nowhere, one_id
from aiotq.cli.operate.jobs import STYLES
from aiotq.cli.operate.moments import ago, clock
from aiotq.cli.operate.reach import Where, ask, hint, say, say_json, shown_id
from aiotq.cli.operate.table import Column, table
from aiotq.cli.text import count, duration, printable, rows, without_passwords
from aiotq.errors import JobNotFound
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Cell, Sheet
    from aiotq.inspection.notes import LogLine
    from aiotq.inspection.values import JobDetail, JobSummary, TimelineEntry
    from aiotq.inspector import Inspector

MOST_ROWS, MOST_LOGS = 20, 20  # of arguments and of a result; of what it logged: the rest with -v
MOST_TEXT = 2 << 10  # characters of arguments, and of a result

HELP = """\
aiotq job ID [options]

One job: its state, arguments, what happened when, the error with the lines that led to it, what it
logged, how far it says it is, and its result. ID is whole, or its end as logs and lists show it."""
EXAMPLE = """\
Exit codes: 0 fine, 1 no such job, or several, or no server answers, 2 used wrongly.

Example: the job that a log line calls c4d210

  aiotq job c4d210"""

Id = Annotated[str | None, typer.Argument(metavar="ID")]


def job(
    job_id: Id = None,
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Show it."""
    if job_id is None:
        raise Mistake("no job was named", "name it: aiotq job ID", "all of them: aiotq jobs")
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    found = ask(where, lambda inspector: _read(inspector, job_id, values=as_json))
    if as_json:
        say_json(found)
        return EXIT_OK
    now = datetime.now(UTC)
    say(where, lambda sheet: lines(found, sheet, now))
    for line in advice(found.summary, where):
        hint(line)
    return EXIT_OK


async def _read(inspector: Inspector, text: str, *, values: bool) -> JobDetail:
    whole = await one_id(inspector, text)
    try:
        return await inspector.job(whole, values=values)
    except JobNotFound as error:
        raise nowhere(text) from error


NEXT: Mapping[JobStatus, tuple[tuple[str, str], ...]] = {
    JobStatus.FAILED: (("run it again", "retry"), ("throw it away", "discard")),
    JobStatus.RUNNING: (("stop it", "cancel"),),
    JobStatus.QUEUED: (("keep it from running", "cancel"),),
    JobStatus.SCHEDULED: (("run it now", "promote"), ("never run it", "cancel")),
}


def advice(job: JobSummary, where: Where) -> list[str]:
    """What is mostly done next, a line each. A record that can't be read is discarded, or left to a worker that can."""
    if job.readable:
        steps = NEXT.get(job.status, ())
    elif job.status.ended:
        steps = (("throw it away", "discard"),)
    else:
        steps = (("a worker of the version that wrote it runs it; throw it away", "discard"),) if _discards(job) else ()
    return [f"{what}: {where.command(verb, of=[shown_id(where, job.id)])}" for what, verb in steps]


def _discards(job: JobSummary) -> bool:
    """Whether one that can't be read and has not ended can be thrown away."""
    return job.placed is True and job.enqueued_at is not None and job.status is not JobStatus.RUNNING


# --- lines ----------------------------------------------------------------------------------------------------------


_NOT_PLACED: Mapping[bool | None, str] = {None: "place unknown", False: "in no queue"}


def lines(found: JobDetail, sheet: Sheet, now: datetime) -> list[Line]:
    """All of it, in the order in which a person asks."""
    summary = found.summary
    reason = "" if summary.reason in {None, "error"} else f" ({parts.told(summary.reason or '')})"
    head: Line = (
        (parts.told(summary.task) or "?", "bold"),
        (f"  {parts.told(summary.id)}  ", ""),
        (f"{summary.status.value}{reason}" if summary.placed else _NOT_PLACED[summary.placed], STYLES[summary.status]),
    )
    shown: list[Line] = [head]
    shown += [((f"  {label:<11}", "dim"), (text, "")) for label, text in _facts(found, now) if text]
    whole = f"--json has all of it, in a record of {parts.size(summary.size)}"
    if not summary.readable or found.info is None:
        shown += _section("raw", _raw(found), sheet, note="its record is of a newer version, or broken; its bytes:")
    else:
        shown += _section("arguments", found.arguments, sheet, whole=whole, cut=found.arguments_cut)
    shown += _timeline(found.timeline, sheet, now)
    shown += _error(found, sheet)
    if found.result is not None:
        shown += _section("result", found.result, sheet, whole=whole, cut=found.result_cut)
    return shown + _logs(found.logs, sheet, now)


def _facts(found: JobDetail, now: datetime) -> Iterable[tuple[str, str]]:
    summary, progress = found.summary, found.progress
    if summary.placed:
        yield "queue", f"{parts.told(summary.queue)}, priority {summary.priority}"
    elif summary.placed is None:
        yield "queue", f"unknown: no ticket of it was found in {found.searched}"
    else:
        yield "queue", "none: no ticket of it was found, so no worker will take it"
    if summary.attempt or summary.lost:
        vanished = f", {count(summary.lost, 'worker')} vanished with it" if summary.lost else ""
        yield "attempt", f"{summary.attempt}{vanished}"
    yield "worker", parts.told(summary.worker or "")
    if summary.status is JobStatus.SCHEDULED and summary.due_at:
        yield "due", f"{clock(summary.due_at, now=now)} ({ago(summary.due_at, now)})"
    if progress is not None:
        of = "" if progress.of is None else f" of {progress.of:g}"
        share = f" ({100 * progress.done / progress.of:.0f} %)" if progress.of else ""
        note = f", {parts.told(progress.note)}" if progress.note else ""
        yield "progress", f"{progress.done:g}{of}{share}{note}, {ago(progress.at, now)}"
    if found.expires_s is not None:
        yield "kept for", duration(found.expires_s)


def _raw(found: JobDetail) -> str:
    return (found.raw or b"").decode(errors="backslashreplace")


def _section(title: str, text: str, sheet: Sheet, *, whole: str = "", cut: bool = False, note: str = "") -> list[Line]:
    """cut: the text is not all there is. whole: where that is."""
    if not text:
        return []
    long = not sheet.look.verbose and len(text) > MOST_TEXT
    all_rows = rows(without_passwords(text[:MOST_TEXT] if long else text))
    shown = all_rows if sheet.look.verbose else all_rows[:MOST_ROWS]
    said: list[Line] = [((title, "bold"), (f"  {note}" if note else "", "dim"))]
    room = parts.narrower_than(sheet, 2)
    said += [(("  ", ""), (row, "")) for one in shown for row in parts.pieces(one, room)]
    if long or cut:
        where = [*(["-v shows more"] if long else []), *([whole] if whole else [])]
        said.append(((f"  (cut: {', '.join(where)})", "dim"),))
    elif len(shown) < len(all_rows):
        said.append(((f"  ({count(len(all_rows) - len(shown), 'more line')}: -v shows them)", "dim"),))
    return said


_TIMELINE = (
    Column(title="WHEN"),
    Column(title="WHAT", least=10),
    Column(title="TOOK", right=True),
    Column(title="WORKER", least=8, spare=1),
    Column(title="ERROR", least=10),
)


def _timeline(entries: tuple[TimelineEntry, ...], sheet: Sheet, now: datetime) -> list[Line]:
    if not entries:
        return []
    made: list[list[Cell]] = [
        [
            (clock(entry.at, now=now, fine=True), "dim"),
            parts.told(entry.what),
            parts.length(entry.took_s),
            parts.told(entry.worker or ""),
            (parts.told(entry.error or ""), "red"),
        ]
        for entry in entries
    ]
    return [(("timeline", "bold"),), *table(_TIMELINE, made, sheet, indent="  ")]


def _error(found: JobDetail, sheet: Sheet) -> list[Line]:
    error = None if found.info is None else found.info.error
    if error is None:
        return []
    text = f"{error.type}: {error.message}" if error.message else error.type
    shown: list[Line] = [(("error", "bold"),)]
    all_rows = rows(without_passwords(text))
    cut_rows = all_rows if sheet.look.verbose else all_rows[:MOST_ROWS]
    room = parts.narrower_than(sheet, 2)
    shown += [((f"  {piece}", "bold red"),) for row in cut_rows for piece in parts.wrapped(row, room)]
    if len(cut_rows) < len(all_rows):
        shown.append(((f"  ({count(len(all_rows) - len(cut_rows), 'more line')}: -v shows them)", "dim"),))
    for frame in found.frames or error.frames:
        shown.append(((f"    {printable(frame.file)}:{frame.line} in {printable(frame.function)}", "cyan"),))
        if frame.code:
            shown.append(((f"      {printable(frame.code)}", ""),))
    return shown


def _logs(logs: tuple[LogLine, ...], sheet: Sheet, now: datetime) -> list[Line]:
    if not logs:
        return []
    shown = logs if sheet.look.verbose else logs[-MOST_LOGS:]
    left_out = f"  (the last {len(shown)} of {len(logs)}: -v shows all)" if len(shown) < len(logs) else ""
    made: list[Line] = [(("log", "bold"), (left_out, "dim"))]
    for line in shown:
        level = "" if line.level == "info" else f"{parts.told(line.level)}: "
        first, *rest = rows(without_passwords(line.text)) or [""]
        made.append(((f"  {clock(line.at, now=now, fine=True)}  ", "dim"), (f"{level}{first}", "")))
        made += [((f"    {row}", ""),) for row in rest]
    return made
