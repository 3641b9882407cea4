"""`aiotq top`: what `status` shows, live, with what came and went in each minute of the last hour."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Self

from aiotq.cli.mistake import EXIT_OK, Mistake
from aiotq.cli.operate import keyboard, options, parts
from aiotq.cli.operate.moments import clock
from aiotq.cli.operate.reach import (
    Where,
    app_of,
    away,
    lost,
    namespace_of,
    opened,
    paper_of,
    reachable,
    say_json,
    sheet_of,
    signature,
    warnings_said,
)
from aiotq.cli.operate.status import screen
from aiotq.cli.text import without_passwords
from aiotq.errors import StoreError
from aiotq.inspection.values import Overview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiotq.app import App
    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import Counts
    from aiotq.inspector import Inspector
    from aiotq.source import Source

EVERY_S = 1.0

HELP = """\
aiotq top [options]

What `aiotq status` shows, live: health, queues, workers with their longest jobs, failures, and what
came and went in each minute of the last hour. q or Ctrl-C ends it. If the server goes away, it says so
and goes on when it is back. --json prints an object a turn, and
{"error": ...} while the server is away."""
EXAMPLE = """\
Exit codes: 0 ended by q, 1 no server answers at the start, 2 used wrongly, 130 ended by Ctrl-C.

Example: every five seconds

  aiotq top --every 5"""

Once = Annotated[bool, options.option("--once", group="What it says", text="One turn, then end.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is known after a look: the last that could be seen, and why nothing newer."""

    overview: Overview
    trouble: str | None = None


def top(
    *,
    every: options.Every = EVERY_S,
    once: Once = False,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Show it until it is ended."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    found = app_of(where)
    source = reachable(where, found.source())
    live = not as_json and not once
    if live and not sys.stdout.isatty():
        raise Mistake("a live screen needs a terminal, and stdout is none", "add --once, --json, or use aiotq status")
    place = f"{source}, namespace {namespace_of(found)}"
    try:
        with warnings_said():
            asyncio.run(_watch(where, found, source, place, every_s=every, once=once))
    except StoreError as error:  # of the first look
        raise away(where, lost(error, source)) from error
    return EXIT_OK


async def _watch(where: Where, app: App, source: Source, place: str, *, every_s: float, once: bool) -> None:
    async with opened(app):
        inspector = app.inspect.acting(by=signature())
        turn = Turn(overview=await inspector.overview())
        if once or where.as_json:
            await _plain(where, turn, partial(_look, inspector, source), place, every_s=every_s, once=once)
            return
        with keyboard.keys() as pressed, _Screen(place, every_s) as shown:
            while True:
                shown.show(turn)
                if await pressed.any_of("qQ\x1b", within_s=every_s):
                    return
                turn = await _look(inspector, source, turn)


async def _look(inspector: Inspector, source: Source, before: Turn) -> Turn:
    """What is so now; while the server is away, what was before, and why."""
    try:
        return Turn(overview=await inspector.overview())
    except StoreError as error:
        return Turn(overview=before.overview, trouble=lost(error, source))


async def _plain(
    where: Where, turn: Turn, look: Callable[[Turn], Awaitable[Turn]], place: str, *, every_s: float, once: bool
) -> None:
    while True:
        if where.as_json:
            say_json(turn.overview if turn.trouble is None else {"error": without_passwords(turn.trouble)})
        else:
            paper = paper_of(where)
            paper.write(frame(turn, sheet_of(paper), place=place, rows=None))
        if once:
            return
        await asyncio.sleep(every_s)
        turn = await look(turn)


class _Screen:
    """The terminal, taken over while it is shown, and given back as it was."""

    def __init__(self, place: str, every_s: float) -> None:
        from rich.console import Console  # noqa: PLC0415  60 ms that only a terminal pays for
        from rich.live import Live  # noqa: PLC0415

        self._place, self._every_s = place, every_s
        self._paper = paper_of(Where())
        console = Console(highlight=False, markup=False, emoji=False, no_color=not self._paper.look.colour)
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, turn: Turn) -> None:
        """Show a turn, as much of it as there is room for."""
        from rich.text import Text  # noqa: PLC0415

        rows = shutil.get_terminal_size().lines
        lines = frame(turn, sheet_of(self._paper), place=self._place, rows=rows - 1)[: rows - 1]
        lines.append(((f"every {self._every_s:g} s, q ends", "dim"),))
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(Text.assemble(*line) for line in lines)
        self._live.update(text, refresh=True)


def frame(turn: Turn, sheet: Sheet, *, place: str, rows: int | None) -> list[Line]:
    """The lines of a turn. rows: how many there is room for; None: any."""
    overview = turn.overview
    lines: list[Line] = []
    if turn.trouble is not None:
        said = parts.wrapped(parts.told(turn.trouble), sheet.width)
        said.append(f"trying again; what stands below is of {clock(overview.at, now=overview.at)}")
        lines += [((row, "bold red"),) for row in said]
    charts = charted(overview.minutes, sheet)
    room = None if rows is None else rows - len(lines) - len(charts) - 1
    return [*lines, *screen(overview, sheet, place=place, rows=room), (("", ""),), *charts]


def charted(minutes: Sequence[Counts], sheet: Sheet) -> list[Line]:
    """A line of bars for each thing that is counted, a bar a minute; figures alone where bars can't be shown."""
    room = len(minutes) if sheet.width is None else max(min(len(minutes), sheet.width - 40), 10)
    last = minutes[-room:]
    lines: list[Line] = []
    for name, style in (("enqueued", "blue"), ("succeeded", "green"), ("failed", "red"), ("retried", "yellow")):
        numbers = [getattr(minute, name) for minute in last]
        if not numbers or (not any(numbers) and name in {"failed", "retried"}):
            continue
        drawn = f"{parts.bars(numbers)} " if sheet.look.symbols else ""
        figures = f"{numbers[-1]:,} now, at most {max(numbers):,}/min"
        lines.append(parts.shortened(((f"{name:<10}", "dim"), (drawn, style), (figures, "")), sheet))
    return lines
