"""How far it is: counted from the workers' log lines, shown live on a terminal and once a second elsewhere."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table

WINDOW_S = 1.0  # jobs per second are those of the last second


class Progress:
    """Counts the jobs of the demo. Each worker logs one JSON line for each thing that happens to a job."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen: Counter[str] = Counter()  # events
        self._began_s = time.monotonic()
        self._recent = deque([(self._began_s, 0)])

    def count(self, line: Mapping[str, Any]) -> None:
        """Count a worker's log line."""
        self.seen[line.get("event", "")] += 1

    @property
    def ended(self) -> int:
        """Jobs that have succeeded or failed for good."""
        return self.seen["succeeded"] + self.seen["failed"]

    @property
    def running(self) -> int:
        """Jobs in the hands of a worker."""
        return self.seen["started"] - self.ended - self.seen["retried"]

    def figures(self) -> dict[str, str]:
        """What is shown."""
        now_s = time.monotonic()
        self._recent.append((now_s, self.ended))
        while len(self._recent) > 2 and self._recent[1][0] < now_s - WINDOW_S:
            self._recent.popleft()
        (then_s, ended), passed_s = self._recent[0], now_s - self._recent[0][0]
        return {
            "queued": f"{self.total - self.ended - self.running:,}",
            "running": f"{self.running:,}",
            "succeeded": f"{self.seen['succeeded']:,}",
            "retried": f"{self.seen['retried']:,}",
            "failed": f"{self.seen['failed']:,}",
            "jobs/s": f"{(self.ended - ended) / max(passed_s, 0.1):,.0f}" if then_s else "0",
        }

    def line(self) -> str:
        """The figures on one line, for logs."""
        seconds = time.monotonic() - self._began_s
        return f"{seconds:5.1f} s   " + "   ".join(f"{name} {value}" for name, value in self.figures().items())

    def __rich__(self) -> RenderableType:
        """The figures and a bar, for a terminal."""
        table = Table.grid(expand=False, padding=(0, 3))
        figures = self.figures()
        for _ in figures:
            table.add_column(justify="right", min_width=9)
        table.add_row(*figures, style="dim")
        table.add_row(*figures.values(), style="bold")
        return Group(ProgressBar(total=self.total, completed=self.ended, width=68), table)
