"""What a worker says on a terminal: a logging handler that shows each event in its own form."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from aiotq.cli.event import event_of
from aiotq.cli.lines import MAX_TASK_WIDTH, Layout, event_lines, short_names, start_one, store_down
from aiotq.cli.rate import Rate, rate_line
from aiotq.job import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiotq.cli.event import Event
    from aiotq.cli.look import Paper

REMEMBERED = 256  # jobs whose place of failure was shown already


class Console(logging.Handler):
    """Writes events and other records, at most so many a second that a person can follow."""

    def __init__(
        self, paper: Paper, *, level: int = logging.INFO, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """steady: seconds of a clock that never jumps."""
        super().__init__(level)
        look = paper.look
        self._paper, self._steady = paper, steady
        self._clock_form = "%H:%M:%S" if look.terminal else "%Y-%m-%d %H:%M:%S"
        self._layout = Layout(look=look, clock_width=8 if look.terminal else 19)
        self._rate = Rate()
        self._source: str | None = None  # where the URL came from; known until the worker is ready
        self._shown: OrderedDict[str, object] = OrderedDict()  # by job: where its last attempt failed
        self._places: set[object] = set()  # where any failed in this second

    def starting(self, *, tasks: Iterable[str], source: str, who: str = "") -> None:
        """Fix the columns. Until `ready`, a server that is away is a mistake of the command line's, and said so.

        who: the worker, if several write to the same place.
        """
        shown = short_names(tasks)
        width = min(max(map(len, shown.values()), default=0), MAX_TASK_WIDTH)
        self._layout = replace(self._layout, tasks=shown, task_width=width, who=who)
        self._source = source

    def ready(self) -> None:
        """The worker is connected."""
        self._source = None

    def tick(self) -> None:
        """Show the counts of the last second, if it is over and nothing came since to show them."""
        self._locked_turn(force=False)

    def close(self) -> None:
        """Show what was counted and not shown yet."""
        self._locked_turn(force=True)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or count it."""
        try:
            given = record.__dict__
            if given.get("event") == "rate":
                self._rate.add(given["counts"])
                self._turn(force=True)
                return
            self._turn()
            if "job_id" in given and not self._rate.see(given.get("event") or "", record.levelno):
                return
            event = event_of(record)
            if event.name == "stopped":
                self._turn(force=True)  # nothing more will come
            self._show(event, record.created)
        except Exception:  # noqa: BLE001  as every handler of the standard library: a log line never ends a program
            self.handleError(record)

    def _show(self, event: Event, created_s: float) -> None:
        if event.name in {"ready", "built_in"}:
            return  # the banner says it
        if event.name == "store_down" and self._source is not None:
            said = store_down(event)
            hint = start_one(event.url or "", said)
            self._paper.write([(("error:", "bold red"), (f" {said}", "")), ((f"{self._source}; {hint}", ""),)])
            return
        layout = replace(self._layout, width=self._paper.width)
        clock = datetime.fromtimestamp(created_s).strftime(self._clock_form)  # noqa: DTZ006  a person's own time
        self._paper.write(event_lines(event, layout, clock, frames=self._is_news(event)))

    def _is_news(self, event: Event) -> bool:
        """Whether the place of this failure is worth showing: not that of the job's last attempt again, nor, where
        counts stand for lines, one that was shown in this second.
        """
        if self._layout.look.verbose or event.job_id is None or not isinstance(event.error, ErrorInfo):
            return True
        frames = event.error.frames
        news = self._shown.pop(event.job_id, None) != frames and not (self._rate.busy and frames in self._places)
        self._places.add(frames)
        if event.name != "failed":
            self._shown[event.job_id] = frames
            if len(self._shown) > REMEMBERED:
                self._shown.popitem(last=False)
        return news

    def _locked_turn(self, *, force: bool) -> None:
        self.acquire()
        try:
            self._turn(force=force)
        finally:
            self.release()

    def _turn(self, *, force: bool = False) -> None:
        turned, counts = self._rate.turn(self._steady(), force=force)
        if turned:
            self._places.clear()
        if counts and self.level <= logging.INFO:
            clock = datetime.now().strftime(self._clock_form)  # noqa: DTZ005  a person's own time
            self._paper.write([rate_line(counts, self._layout.look, clock)])
