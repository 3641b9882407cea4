"""The lines that a worker's console shows of what happens: pure functions from an event to lines.

A line of a job has columns that never move: time, mark, task, the end of its id, what there is to say.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq.cli.look import Look
from aiotq.cli.text import count, duration, printable, reason, rows, short_id
from aiotq.job import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiotq.cli.event import Event
    from aiotq.cli.look import Line, Span
    from aiotq.errors import Frame

MAX_TASK_WIDTH = 28
MAX_MESSAGE = 1_000  # characters of an error's text on one line of a file
MAX_MESSAGE_ROWS = 5  # ... or this many rows on a terminal
MAX_FRAMES = 6
WORD_WIDTH = 9  # of the longest mark in words
HINT = "start Redis, or use --url embedded://"

# event: symbol, style; where symbols can't be shown, the event's name stands for it.
_MARKS: Mapping[str, Span] = {
    "enqueued": ("+", ""),
    "started": ("▶", "blue"),
    "succeeded": ("✔", "green"),
    "retried": ("✖", "yellow"),
    "failed": ("☠", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "returned": ("↩", "yellow"),
    "postponed": ("↻", "yellow"),
    "store_down": ("✖", "bold red"),
    "store_up": ("✔", "green"),
}
_LEVELS: tuple[tuple[int, str, Span], ...] = (
    (logging.ERROR, "error", ("✖", "bold red")),
    (logging.WARNING, "warning", ("!", "yellow")),
    (logging.INFO, "info", ("·", "dim")),
    (logging.NOTSET, "debug", ("·", "dim")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the columns of this console stand."""

    look: Look
    width: int | None = None  # columns of the terminal; None: nothing has to fit
    clock_width: int = 8
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])  # name: how it is shown
    task_width: int = 0
    who: str = ""  # the worker, where several write to the same place

    @property
    def indent(self) -> int:
        """Where the task's column begins, and the lines below a job's line."""
        return self.clock_width + 2 + (1 if self.look.symbols else WORD_WIDTH) + 1

    def fits(self, *texts: str) -> bool:
        """Whether these fit side by side."""
        return self.width is None or sum(map(len, texts)) <= self.width


def short_names(names: Iterable[str]) -> dict[str, str]:
    """How tasks are shown: by their function's name alone, or whole if two share it."""
    names = list(names)
    shorts = [name.rpartition(":")[2] or name for name in names]
    return {
        name: printable(name if shorts.count(short) > 1 else short) for name, short in zip(names, shorts, strict=True)
    }


def event_lines(event: Event, layout: Layout, clock: str, *, frames: bool = True) -> list[Line]:
    """The lines for one event. clock: the time as shown. frames: whether the place of an error is shown below it."""
    match event.name:
        case "stopping" | "stopped":
            return _leaving(event, layout, clock)
        case "store_down":
            return _prose(_beginning(event, layout, clock), store_down(event), layout, "")
        case "retried" | "failed" if event.error is not None:
            return _failure(event, layout, clock, frames=frames)
        case _ if event.job_id is not None:
            return _job(event, layout, clock)
        case _:
            return _message(event, layout, clock)


def store_down(event: Event) -> str:
    """That there is no Redis, where, and why."""
    why = reason(event.error.message if isinstance(event.error, ErrorInfo) else event.error or "")
    return printable(f"no Redis at {event.url}{f' ({why})' if why else ''}, trying again")


def start_one(url: str, why: str) -> str:
    """What to do where no server answers. why: what has been met there."""
    scheme = url.partition("://")[0]
    if scheme.endswith("+sentinel"):
        return "see that most of these sentinels run and know the service, or correct the URL"
    if scheme == "redis" and "reset" in why:
        return f"if it speaks TLS, write rediss://; else {HINT}"
    if scheme == "rediss" and "no answer" in why:
        return f"if it speaks no TLS, write redis://; else {HINT}"
    return HINT


def mark(event: Event, look: Look) -> Span:
    """The mark of an event, one character or WORD_WIDTH of them."""
    level, by_level = next((word, span) for least, word, span in _LEVELS if event.level >= least)
    symbol, style = _MARKS.get(event.name, by_level)
    word = event.name if event.name in _MARKS and len(event.name) <= WORD_WIDTH else level
    return (symbol if look.symbols else f"{word:<{WORD_WIDTH}}", style)


def _beginning(event: Event, layout: Layout, clock: str) -> list[Span]:
    """The first two columns."""
    return [(f"{clock}  ", "dim"), mark(event, layout.look), (" ", "")]


def _head(event: Event, layout: Layout, clock: str) -> list[Span]:
    name = layout.tasks.get(event.task or "") or printable(event.task or "?")
    if layout.width is not None and len(name) > layout.task_width and not layout.look.verbose:
        name = name[: max(layout.task_width, 8) - 1] + "…" if layout.look.symbols else name
    job_id = event.job_id or ""
    shown = printable(job_id) if layout.look.verbose else short_id(job_id)
    return [*_beginning(event, layout, clock), (f"{name:<{layout.task_width}}  ", ""), (f"{shown:<6}  ", "dim")]


def _job(event: Event, layout: Layout, clock: str) -> list[Line]:
    head = _head(event, layout, clock)
    match event.name:
        case "started":
            again = f"{_attempt(event)}, " if (event.attempt or 1) > 1 else ""
            waited = "" if event.waited_ms is None else f"waited {duration(event.waited_ms / 1000)}"
            said = [f"{again}{waited}".removesuffix(", ")]
        case "succeeded":
            said = [f"took {duration((event.took_ms or 0) / 1000)}"]
        case "cancelled":
            said = [
                "expired before it started" if event.reason == "expired" else printable(event.reason or "cancelled")
            ]
        case "returned":
            said = ["put back to the front of its queue"]
        case _:
            # The columns say already whose line it is.
            told = event.message.removeprefix(f"{event.task} {event.job_id}").lstrip(": ")
            said = rows(told) or [""]
    first, *rest = said
    known = event.name in _MARKS and event.name != "postponed"
    return _prose(head, first, layout, "dim" if known else "") + _below(layout, rest, "dim") + _trace(event, layout)


def _attempt(event: Event) -> str:
    return f"attempt {event.attempt}" + (f" of {event.attempts}" if event.attempts else "")


def _failure(event: Event, layout: Layout, clock: str, *, frames: bool) -> list[Line]:
    error = event.error
    if not isinstance(error, ErrorInfo):
        error = ErrorInfo(type="error", message=str(error))
    head = _head(event, layout, clock)
    note = _failure_note(event)
    style = "red" if event.name == "failed" else "yellow"
    said = f"{error.type}: {error.message}" if error.message else error.type
    first = printable(said)
    if layout.width is None and len(first) > MAX_MESSAGE and not layout.look.verbose:
        first = first[:MAX_MESSAGE] + "..."
    columns = "".join(text for text, _ in head)
    lines: list[Line] = [(*head, (first, style), (f"  {note}", "dim"))]
    if layout.width is not None and ("\n" in said.strip() or not layout.fits(columns, first, "  ", note)):
        beside = layout.fits(columns, note)
        lines = [(*head, (note, "dim"))] if beside else [tuple(head), *_below(layout, [note], "dim")]
        lines += _below(layout, _wrapped(said, layout), style)
    if layout.look.verbose and event.trace:
        return lines + _trace(event, layout)
    return lines + (_frames(error.frames, layout) if frames else [])


def _failure_note(event: Event) -> str:
    if event.name == "retried":
        return f"{_attempt(event)}, again in {duration((event.delay_ms or 0) / 1000)}"
    if event.reason not in {None, "error"}:
        return f"gave up: {printable(event.reason or '')}"
    if event.attempt and event.attempts and event.attempt < event.attempts:
        return f"gave up in attempt {event.attempt} of {event.attempts}"
    return f"gave up after {count(event.attempt or 1, 'attempt')}"


def _wrapped(text: str, layout: Layout) -> list[str]:
    """Other people's text in rows that fit below a job's line."""
    room = max((layout.width or 10_000) - layout.indent, 20)
    cut = [part for row in rows(text) for part in textwrap.wrap(row, room) or [""]]
    if len(cut) > MAX_MESSAGE_ROWS and not layout.look.verbose:
        return [*cut[:MAX_MESSAGE_ROWS], f"({len(cut) - MAX_MESSAGE_ROWS} more lines: -v shows them)"]
    return cut


def _frames(frames: tuple[Frame, ...], layout: Layout) -> list[Line]:
    left_out = 0 if layout.look.verbose else max(len(frames) - MAX_FRAMES, 0)
    lines: list[Line] = []
    if left_out:
        lines += _below(layout, [f"({count(left_out, 'frame')} left out: -v shows them)"], "dim")
    for frame in frames[left_out:]:
        lines += _below(layout, [printable(f"{frame.file}:{frame.line} in {frame.function}")], "cyan", keep_end=True)
        if frame.code:
            lines += _below(layout, [f"  {printable(frame.code)}"], "")
    return lines


def _trace(event: Event, layout: Layout) -> list[Line]:
    return _below(layout, rows(event.trace), "dim") if event.trace else []


def _below(layout: Layout, texts: Iterable[str], style: str, *, keep_end: bool = False) -> list[Line]:
    """Lines below a job's line, cut to the terminal: a path keeps its end."""
    room = None if layout.width is None or layout.look.verbose else max(layout.width - layout.indent, 20)
    return [((" " * layout.indent, ""), (_cut(text, room, keep_end=keep_end), style)) for text in texts]


def _cut(text: str, room: int | None, *, keep_end: bool) -> str:
    if room is None or len(text) <= room:
        return text
    if not keep_end:
        return f"{text[: room - 3]}..."
    end = text[3 - room :]
    folder = end.find("/")
    return f"...{end[folder:] if folder >= 0 else end}"


def _prose(head: list[Span], text: str, layout: Layout, style: str) -> list[Line]:
    """A line, and on a terminal that is too narrow for it the rest below."""
    if layout.fits(*(span for span, _ in head), text):
        return [(*head, (text, style))]
    first, *rest = textwrap.wrap(text, max((layout.width or 0) - sum(len(span) for span, _ in head), 20)) or [""]
    return [(*head, (first, style)), *_below(layout, _wrapped(" ".join(rest), layout), style)]


def _message(event: Event, layout: Layout, clock: str) -> list[Line]:
    """A record that is no event, or one of the worker's that needs no form of its own."""
    ours = event.logger == "aiotq" or event.logger.startswith("aiotq.")
    said = event.message if ours else f"{event.logger}: {event.message}"
    first, *rest = rows(f"{_who(layout)}{said}") or [""]
    style = "dim" if event.level < logging.INFO else ""
    lines = _prose(_beginning(event, layout, clock), first, layout, style)
    return [*lines, *_below(layout, rest, "dim"), *_trace(event, layout)]


def _leaving(event: Event, layout: Layout, clock: str) -> list[Line]:
    head: Line = (("  ", ""),) if layout.look.terminal else ((f"{clock}  ", ""),)
    if event.name == "stopped":
        return [(*head, (f"{_who(layout)}{'bye.' if event.tally is None else tally_text(event)}", ""))]
    running = event.running or 0
    if not running:
        return []  # the tally follows at once
    first = (
        f"{_who(layout)}stopping: {count(running, 'job')} still running, waiting up to {duration(event.grace_s or 0)}"
    )
    goes = "it goes back to its queue" if running == 1 else "they go back to their queues"
    second = f"(Ctrl-C again to stop now; {goes})"
    if layout.fits("^C  ", first, " ", second):
        return [(*head, (first, "bold"), (f" {second}", "dim"))]
    return [(*head, (first, "bold")), (*head, (second, "dim"))]


def _who(layout: Layout) -> str:
    return f"{printable(layout.who)}: " if layout.who else ""


def tally_text(event: Event) -> str:
    """What a worker has done in its life."""
    tally = event.tally or {}
    done = [f"{tally.get(key, 0):,} {word}" for key, word in _TALLY if tally.get(key) or key != "cancelled"]
    return f"bye. {', '.join(done)}, up {duration(event.up_s or 0)}"


_TALLY = (
    ("succeeded", "succeeded"),
    ("failed", "failed"),
    ("retried", "retried"),
    ("returned", "put back"),
    ("cancelled", "cancelled"),
)
