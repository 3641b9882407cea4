"""What `status` and `top` show, and the commands of one thing each: from the inspector's values to lines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import errors
from aiotq.cli.operate.moments import ago
from aiotq.cli.operate.table import Column, cells, cut, table
from aiotq.cli.text import count, duration, printable, short_id, without_passwords
from aiotq.inspection import words
from aiotq.inspection.values import Histogram, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from aiotq.cli.look import Line, Span
    from aiotq.cli.operate.table import Cell, Sheet
    from aiotq.inspection.values import Counts, FailureGroup, Finding, Overview, QueueInfo, ServerInfo, WorkerInfo

# severity: symbol, word, style
MARKS: dict[Severity, tuple[str, str, str]] = {
    Severity.OK: ("✔", "ok", "green"),
    Severity.NOTE: ("·", "note", "dim"),
    Severity.WARNING: ("!", "warning", "yellow"),
    Severity.CRITICAL: ("✖", "critical", "bold red"),
}
PROGRAMS = ("aiotq ", "redis-cli ", "python -m ", "kill -", "ps -p ", "journalctl ")  # that a hint names
BARS = " ▁▂▃▄▅▆▇█"


def told(text: str) -> str:
    """Other people's text, harmless, on one line."""
    return printable(without_passwords(text))


def id_of(job_id: str, sheet: Sheet) -> str:
    """A job's id as it is told from its neighbours: the end of one of aiotq's; a given one whole, if not long."""
    return told(job_id if sheet.look.verbose else short_id(job_id))


def mark(severity: Severity, sheet: Sheet, *, width: int = 0) -> Span:
    """The mark of a severity; a word where symbols can't be shown."""
    symbol, word, style = MARKS[severity]
    return (symbol if sheet.look.symbols else f"{word:<{width}}", style)


def size(number: int | None) -> str:
    """Bytes as a person reads them: "12.3 MiB"."""
    return "?" if number is None else words.size(number)


def figure(number: int | None) -> str:
    """A count; nothing for none that is known."""
    return "?" if number is None else f"{number:,}"


def rate(number: float | None) -> str:
    """So many a minute."""
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


def length(seconds: float | None) -> str:
    """A length of time; nothing for none."""
    return "" if seconds is None else duration(seconds)


def wrapped(text: str, room: int | None) -> list[str]:
    """A text in rows of at most so many characters, broken between words where that can be."""
    if room is None or cells(text) <= room:
        return [text]
    import textwrap  # noqa: PLC0415  only for what does not fit

    return textwrap.wrap(text, max(room, 20), break_on_hyphens=False)


# --- is all well? ---------------------------------------------------------------------------------------------------


def health(findings: Sequence[Finding], sheet: Sheet) -> Line:
    """One line: whether all is well."""
    wrong = [finding for finding in findings if finding.severity is Severity.CRITICAL]
    look = [finding for finding in findings if finding.severity is Severity.WARNING]
    if wrong:
        said = f"{_things(len(wrong))} wrong: jobs fail, wait or stand still"
        severity = Severity.CRITICAL
    elif look:
        said, severity = f"{_things(len(look))} worth a look", Severity.WARNING
    else:
        said, severity = "all is well", Severity.OK
    rest = len(findings) - len(wrong or look)
    more = f" (and {count(rest, 'lesser one' if wrong or look else 'note')})" if rest else ""
    word, style = mark(severity, sheet)
    return ((f"{word} " if sheet.look.symbols else f"{word}: ", style), (said, style or "bold"), (more, "dim"))


def _things(number: int) -> str:
    return "1 thing is" if number == 1 else f"{number:,} things are"


def finding_lines(finding: Finding, sheet: Sheet) -> list[Line]:
    """What is wrong, and below it what to do."""
    indent = 4 if sheet.look.symbols else 2 + len("critical  ")
    room = None if sheet.width is None else sheet.width - indent
    first, *rest = wrapped(told(finding.what), room)
    head: Line = (
        ("  ", ""),
        mark(finding.severity, sheet, width=8),
        (" " * (indent - 3 if sheet.look.symbols else 2), ""),
    )
    lines: list[Line] = [(*head, (first, ""))]
    lines += [((" " * indent, ""), (row, "")) for row in rest]
    lines += [((" " * indent, ""), (row, "cyan")) for row in steps(told(finding.hint), room)]
    return lines


def steps(hint: str, room: int | None) -> list[str]:
    """What to do, a line a step; a command that has no room beside its words stands below them, whole: to be pasted."""
    rows: list[str] = []
    for step in errors.parts(hint):
        before, colon, command = step.rpartition(": ")
        if room is None or cells(step) <= room or (not colon and command.startswith(PROGRAMS)):
            rows.append(step)
        elif command.startswith(PROGRAMS):
            rows += [*wrapped(f"{before}:", room), f"  {command}"]
        else:
            rows += wrapped(step, room)
    return [row for row in rows if row.strip()]


def findings(found: Sequence[Finding], sheet: Sheet, *, most: int | None = None) -> list[Line]:
    """The worst first, and how many are left out."""
    shown = found if most is None or len(found) <= most else found[:most]
    lines = [line for finding in shown for line in finding_lines(finding, sheet)]
    if len(shown) < len(found):
        lines.append(((f"  and {len(found) - len(shown):,} more: aiotq status -v", "dim"),))
    return lines


# --- what there is --------------------------------------------------------------------------------------------------


def server(info: ServerInfo, sheet: Sheet) -> list[Line]:
    """The server: which, how long, how full, how fast."""
    memory = size(info.memory) + (f" of {size(info.memory_limit)}" if info.memory_limit else "")
    parts = [
        f"{info.kind} {info.version}".strip(),
        "" if info.uptime_s is None else f"up {duration(info.uptime_s)}",
        "" if info.memory is None else memory,
        info.policy or "",
        "" if info.persistence is None else {"none": "saves nothing"}.get(info.persistence, info.persistence),
        "" if info.role in {None, "master"} else f"role {info.role}",
        "" if info.clients is None else count(info.clients, "client"),
        "" if info.ping_s is None else f"answers in {duration(info.ping_s)}",
        "" if info.writable else "REFUSES WRITES",
    ]
    text = told(", ".join(part for part in parts if part))
    return _labelled("server", text, sheet)


def _labelled(label: str, text: str, sheet: Sheet, style: str = "") -> list[Line]:
    room = None if sheet.width is None else sheet.width - 10
    first, *rest = wrapped(text, room) or [""]
    lines: list[Line] = [((f"{label:<10}", "dim"), (first, style))]
    return lines + [((" " * 10, ""), (row, style)) for row in rest]


def traffic(minutes: Sequence[Counts], sheet: Sheet) -> list[Line]:
    """What happened in these minutes, and how long it took."""
    if not minutes:
        return []
    names = ("enqueued", "succeeded", "failed", "retried", "lost")
    sums = {name: sum(getattr(minute, name) for minute in minutes) for name in names}
    waited, ran = merged(minute.waited for minute in minutes), merged(minute.ran for minute in minutes)
    parts = [f"{sums[name]:,} {name}" for name in names if sums[name] or name in {"enqueued", "succeeded"}]
    text = ", ".join(parts)
    if waited.number:
        text += f"; half waited {upto(waited, 0.5)}, 99 % {upto(waited, 0.99)}"
    if ran.number:
        text += f"; half took {upto(ran, 0.5)}, 99 % {upto(ran, 0.99)}"
    return _labelled("last hour" if len(minutes) == 60 else f"{len(minutes)} min", text, sheet)


def upto(measured: Histogram, share: float) -> str:
    """The bound below which that share of what was measured lies."""
    found = measured.quantile_s(share)
    return "?" if found is None else f"≤ {duration(found)}".replace("≤", "<=")


def merged(many: Iterable[Histogram]) -> Histogram:
    """Several histograms as one."""
    rows = list(many)
    if not rows:
        return Histogram()
    return Histogram(
        counts=tuple(sum(column) for column in zip(*(row.counts for row in rows), strict=True)),
        total_s=sum(row.total_s for row in rows),
    )


def bars(numbers: Sequence[int], *, most: int | None = None) -> str:
    """A line of small bars, one a number."""
    top = max(*numbers, most or 0, 1) if numbers else 1
    return "".join(BARS[0 if not number else max(1, round(number / top * 8))] for number in numbers)


QUEUE_COLUMNS = (
    Column(title="QUEUE", least=8),
    Column(title="WAITING", right=True),
    Column(title="OLDEST", right=True),
    Column(title="RUNNING", right=True),
    Column(title="WORKERS", right=True),
    Column(title="IN/MIN", right=True, spare=1),
    Column(title="DONE/MIN", right=True, spare=1),
    Column(title="NOTE", least=6),
)


def queues(found: Sequence[QueueInfo], sheet: Sheet, *, most: int | None = None, more: str = "") -> list[Line]:
    """A line a queue, those that need a look first; below them how many are left out, and where they are."""
    ordered = sorted(found, key=_concern)
    shown = ordered if most is None else ordered[:most]
    lines = table(QUEUE_COLUMNS, [_queue(queue) for queue in shown], sheet) if shown else []
    return lines + _more(len(found) - len(shown), more)


def _concern(queue: QueueInfo) -> tuple[bool, float, str]:
    stands = queue.held_up or (queue.waiting > 0 and (queue.paused or not queue.workers))
    return (not stands, -(queue.oldest_age_s or 0), queue.name)


def _queue(queue: QueueInfo) -> list[Cell]:
    notes = ["paused"] if queue.paused else []
    if not queue.workers:
        notes.append("no worker")
    elif queue.held_up:
        notes.append("its workers stand still" if queue.workers > 1 else "its worker stands still")
    if queue.suspects:
        notes.append(count(queue.suspects, "suspect"))
    style = "yellow" if queue.paused or queue.held_up or (queue.waiting and not queue.workers) else ""
    return [
        (told(queue.name), style or "bold"),
        figure(queue.waiting),
        length(queue.oldest_age_s),
        figure(queue.running),
        figure(queue.workers),
        rate(queue.enqueued_a_minute),
        rate(queue.ended_a_minute),
        (", ".join(notes), style),
    ]


WORKER_COLUMNS = (
    Column(title="WORKER", least=10),
    Column(title="STATE"),
    Column(title="SLOTS", right=True),
    Column(title="LONGEST JOB", least=22),
    Column(title="SEEN", right=True),
    Column(title="MEMORY", right=True, spare=3),
    Column(title="QUEUES", least=10, spare=1),
    Column(title="WHERE", least=10, spare=4),
    Column(title="VERSION", spare=5),
)
_WORRIES = {"late": "yellow", "blocked": "yellow", "gone": "bold red", "stopping": "dim"}


def workers(found: Sequence[WorkerInfo], sheet: Sheet, *, most: int | None = None, more: str = "") -> list[Line]:
    """A line a worker, those that need a look first."""
    ordered = sorted(found, key=lambda worker: (worker.state == "working" and not worker.stuck, worker.label))
    shown = ordered if most is None else ordered[:most]
    lines = table(WORKER_COLUMNS, [_worker(worker) for worker in shown], sheet) if shown else []
    return lines + _more(len(found) - len(shown), more)


def _worker(worker: WorkerInfo) -> list[Cell]:
    longest = max(worker.jobs, key=lambda job: job.running_s, default=None)
    slots = f"{worker.used}" if worker.slots is None else f"{worker.used} of {worker.slots}"
    state = worker.state
    if worker.stuck:
        state += f", {worker.stuck} stuck"
    if worker.blocked_s >= 1:
        state += f" {duration(worker.blocked_s)}"
    style = "bold red" if worker.stuck else _WORRIES.get(worker.state, "green")
    return [
        (told(worker.label), "bold"),
        (told(state), style),
        slots,
        "" if longest is None else f"{duration(longest.running_s)} {told(short_task(longest.task))}",
        "" if worker.last_seen_s is None else duration(worker.last_seen_s),
        "" if worker.memory is None else size(worker.memory),
        told(", ".join(worker.queues)),
        told(f"{worker.host} {worker.pid}"),
        told(worker.version or ""),
    ]


def short_task(name: str) -> str:
    """A task's function without its module."""
    return name.rpartition(":")[2] or name


FAILURE_COLUMNS = (
    Column(title="FAILED", right=True),
    Column(title="TASK", least=8),
    Column(title="ERROR", least=12, most=72),
    Column(title="LAST", right=True),
    Column(title="JOB"),
)


def failures(
    found: Sequence[FailureGroup], sheet: Sheet, now: datetime, *, most: int | None = None, more: str = ""
) -> list[Line]:
    """A line for each task and error, the most frequent first."""
    shown = found if most is None else found[:most]
    rows: list[list[Cell]] = [
        [
            f"{group.count:,}",
            told(short_task(group.task)),
            told(f"{group.error}: {group.message}" if group.message else group.error),
            ago(group.last_at, now),
            (id_of(group.job_id or "", sheet), "bold red" if group.dead else ""),
        ]
        for group in shown
    ]
    return (table(FAILURE_COLUMNS, rows, sheet) if rows else []) + _more(len(found) - len(shown), more)


def _more(number: int, where: str) -> list[Line]:
    return [((f"and {number:,} more{f': {where}' if where else ''}", "dim"),)] if number > 0 else []


def totals(overview: Overview) -> Line:
    """How many jobs there are in each state that lasts."""
    waiting = sum(queue.waiting for queue in overview.queues)
    running = sum(queue.running for queue in overview.queues)
    text = f"{waiting:,} waiting, {running:,} running, {overview.scheduled:,} scheduled, {overview.dead:,} dead"
    return ((f"{'jobs':<10}", "dim"), (text, ""))


def shortened(line: Line, sheet: Sheet) -> Line:
    """A line cut to the terminal."""
    room, spans = sheet.width, list[tuple[str, str]]()
    for text, style in line:
        if room is not None and room <= 0:
            break
        spans.append((cut(text, room, sheet), style))
        room = None if room is None else room - cells(spans[-1][0])
    return tuple(spans)


def narrower_than(sheet: Sheet, indent: int) -> int | None:
    """How much room there is beside an indent; None: any."""
    return None if sheet.width is None else max(sheet.width - indent, 20)


def pieces(text: str, room: int | None) -> list[str]:
    """A line cut into pieces of at most so many characters, nothing left out."""
    if room is None or len(text) <= room:
        return [text]
    return [text[start : start + room] for start in range(0, len(text), room)]
