"""What a worker says of its jobs. Above 50 jobs a second it says what became of them once a second, in one line.

A job's lines carry `event`, `job_id`, `task`, `queue` and `attempt` as extra; README and docs list the events.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiotq.worker.held import Held

LOG = logging.getLogger("aiotq.worker")
LINES_A_SECOND = 50


class JobLog:
    """The job lines of one worker."""

    def __init__(self) -> None:
        self._second_s = 0.0
        self._lines = 0
        self._hushed: dict[str, int] = {}

    def job(self, level: int, event: str, held: Held, message: str, *arguments: object, **extra: object) -> None:
        """One line of a job. Lines below WARNING become counts at high rates."""
        if not LOG.isEnabledFor(level):
            return
        now_s = monotonic()
        if now_s - self._second_s >= 1.0:
            self.flush()
            self._second_s = now_s
        if level < logging.WARNING:
            self._lines += 1
            if self._lines > 2 * LINES_A_SECOND:  # a job has two: its start and its end
                self._hushed[event] = self._hushed.get(event, 0) + 1
                return
        elif self._hushed:
            self._hushed[event] = self._hushed.get(event, 0) + 1
        LOG.log(level, message, *arguments, extra={**about(held), **extra, "event": event})

    def flush(self) -> None:
        """The counts of the second that is over."""
        hushed, self._hushed, self._lines = self._hushed, {}, 0
        if hushed:
            said = ", ".join(f"{count} {event}" for event, count in hushed.items())
            LOG.info("%s in the last second", said, extra={"event": "rate", "counts": hushed})


def about(held: Held) -> dict[str, Any]:
    """What every line of a job carries."""
    return {"job_id": held.job_id, "task": held.name, "queue": held.queue, "attempt": held.attempt}


def say(level: int, event: str, message: str, *arguments: object, exc_info: Any = None, **extra: object) -> None:
    """A line of the worker itself."""
    LOG.log(level, message, *arguments, extra={**extra, "event": event}, exc_info=exc_info)
