"""When lines a job become one line a second: what was seen in each second, and what of it is shown."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiotq.cli.look import Line, Look, Span

MAX_JOBS_PER_S = 50  # above it nobody reads lines a job
SHOWN_FAILURES_PER_S = 5  # of each kind, above it
LONGEST_SECOND_S = 1.2  # so that the worker's own count of a second comes before ours ends

_COLUMNS = (("started", "blue"), ("succeeded", "green"), ("failed", "bold red"), ("retried", "yellow"))
_ENDED = ("succeeded", "failed", "retried", "cancelled", "returned", "postponed")
_ALWAYS_LOGGED = frozenset({"failed", "retried", "postponed", "stuck"})  # warnings and errors


@dataclass(slots=True)
class Rate:
    """Counts what happens to jobs, second by second. Pure: the time is passed in, in seconds of any steady clock.

    The second in which the limit is passed shows its first lines and then its counts; from then on there is a line of
    counts a second, until one of them is within the limit again.
    """

    limit: int = MAX_JOBS_PER_S
    busy: bool = False
    since_s: float | None = None
    counts: Counter[str] = field(default_factory=Counter[str])

    def see(self, event: str, level: int) -> bool:
        """Count an event of a job; a line that is none has an empty name. Returns whether it is shown."""
        if not event:
            return level >= logging.WARNING or not self.busy
        counts = self.counts
        counts[event] += 1
        if not self.busy and self._jobs() > self.limit:
            self.busy = True
        if not self.busy:
            return True
        return level >= logging.WARNING and counts[event] <= SHOWN_FAILURES_PER_S

    def add(self, counts: Mapping[str, int]) -> None:
        """Take over what the worker has counted instead of logging it. What it logs at any rate was seen already."""
        for event, number in counts.items():
            if event not in _ALWAYS_LOGGED:
                self.counts[event] += number
        self.busy = True

    def turn(self, now_s: float, *, force: bool = False) -> tuple[bool, Mapping[str, int] | None]:
        """If a second is over, begin the next one. Returns whether it is, and its counts if they are to be shown."""
        if self.since_s is None:
            self.since_s = now_s
        if now_s - self.since_s < LONGEST_SECOND_S and not force:
            return False, None
        counts, self.counts, self.since_s = self.counts, Counter[str](), now_s
        shown = self.busy
        if self._jobs_of(counts) <= self.limit:
            self.busy = False
        return True, counts if shown and counts else None

    def _jobs(self) -> int:
        return self._jobs_of(self.counts)

    @staticmethod
    def _jobs_of(counts: Mapping[str, int]) -> int:
        return max(counts.get("started", 0), sum(counts.get(name, 0) for name in _ENDED))


def rate_line(counts: Mapping[str, int], look: Look, clock: str) -> Line:
    """The counts of one second, in columns that don't move; the rare kinds at the end."""
    spans: list[Span] = [(f"{clock}  ", "dim"), ("»" if look.symbols else "per s    ", "dim")]
    for name, style in _COLUMNS:
        number = counts.get(name, 0)
        spans.append((f" {number:>6,} {name} ", style if number else "dim"))
    rest = [f"{counts[name]:,} {name}" for name in counts if name not in dict(_COLUMNS)]
    if rest:
        spans.append((f"  {', '.join(rest)}", "yellow"))
    return tuple(spans)
