"""How far it is, as figures that change."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WINDOW_S = 1.0  # jobs per second are those of the last second
WIDTH = 12  # of a figure, so that six of them fit on a terminal
ALWAYS_LOGGED = {"failed", "retried"}  # one by one, at any rate


class Progress:
    """Counts the jobs of the demo.

    What a job came to is told by its handle, at once. What else happens is in the workers' log lines: one for each
    start, success and failure; at more than 50 a second, a line with their counts once a second instead.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.succeeded = 0
        self.failed = 0
        self.logged: Counter[str] = Counter()  # events
        self._began_s = time.monotonic()
        self._recent = deque([(self._began_s, 0)])

    def count(self, line: Mapping[str, Any]) -> None:
        """Count a worker's log line."""
        if line.get("event") == "rate":
            counts: dict[str, int] = line["counts"]
            self.logged.update({event: count for event, count in counts.items() if event not in ALWAYS_LOGGED})
        else:
            self.logged[line.get("event", "")] += 1

    @property
    def ended(self) -> int:
        """Jobs that have succeeded or failed for good."""
        return self.succeeded + self.failed

    @property
    def running(self) -> int:
        """Jobs in the hands of a worker, by the log."""
        running = self.logged["started"] - sum(self.logged[event] for event in ("succeeded", "failed", "retried"))
        return max(0, min(running, self.total - self.ended))

    def figures(self) -> dict[str, str]:
        """What is shown."""
        now_s = time.monotonic()
        self._recent.append((now_s, self.ended))
        while len(self._recent) > 2 and self._recent[1][0] < now_s - WINDOW_S:
            self._recent.popleft()
        since_s, ended = self._recent[0]
        return {
            "queued": f"{self.total - self.ended - self.running:,}",
            "running": f"{self.running:,}",
            "succeeded": f"{self.succeeded:,}",
            "retried": f"{self.logged['retried']:,}",
            "failed": f"{self.failed:,}",
            "jobs/s": f"{(self.ended - ended) / max(now_s - since_s, 0.1):,.0f}",
        }

    def line(self) -> str:
        """The figures on one line, for logs."""
        seconds = time.monotonic() - self._began_s
        return f"{seconds:5.1f} s   " + "   ".join(f"{name} {value}" for name, value in self.figures().items())

    def __rich__(self) -> RenderableType:
        """A bar and the figures below it, for a terminal."""
        figures = self.figures()
        table = Table.grid()
        table.add_row(ProgressBar(total=self.total, completed=self.ended, width=WIDTH * len(figures)))
        table.add_row(Text("".join(f"{name:>{WIDTH}}" for name in figures), style="dim"))
        table.add_row(Text("".join(f"{value:>{WIDTH}}" for value in figures.values()), style="bold"))
        return table
