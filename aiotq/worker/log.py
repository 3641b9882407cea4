"""What a worker says of its jobs. Above 50 jobs a second it says what became of them once a second, in one line.

A job's lines carry `event`, `job_id`, `task`, `queue` and `attempt` as extra; docs/operations.md lists the others.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiotq.worker.held import Held

LOG = logging.getLogger("aiotq.worker")
LINES_A_SECOND = 2 * 50  # a job has two: its start and its end


class JobLog:
    """The job lines of one worker, used on its loop.

    A second with more than 50 jobs becomes counts from there on, and so do the seconds after it from their beginning,
    until one of them has fewer.
    """

    def __init__(self) -> None:
        self._over_s = 0.0  # when this second is over (monotonic)
        self._lines = 0  # in this second, said or not
        self._hush = False
        self._counts: Counter[str] = Counter()  # of the lines that were not said, and of warnings beside them
        self._timer: asyncio.TimerHandle | None = None

    def job(self, level: int, event: str, held: Held, message: str, *arguments: object, **extra: object) -> None:
        """One line of a job. Lines below WARNING become counts at high rates."""
        if not LOG.isEnabledFor(level):
            return
        now_s = monotonic()
        if now_s >= self._over_s:
            self._turn(now_s)
        if level > logging.DEBUG:
            self._lines += 1
            self._hush |= self._lines > LINES_A_SECOND
            if self._hush:
                self._count(event)
        if level >= logging.WARNING or not self._hush:
            _log(level, message, *arguments, extra={**about(held), **extra, "event": event})

    def hushes(self, event: str, number: int, now_s: float) -> bool:
        """Whether so many INFO lines need not be made; then they have been counted. now_s: monotonic.

        Cost: the same for one as for hundreds.
        """
        if not self._hush or now_s >= self._over_s:
            return not LOG.isEnabledFor(logging.INFO)
        self._lines += number
        self._counts[event] += number
        if self._timer is None:
            self._arm()
        return True

    def flush(self) -> None:
        """Say what is still to be said of the last second."""
        self._turn(monotonic())

    def _count(self, event: str) -> None:
        self._counts[event] += 1
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        """Nothing more may come that would end this second."""
        self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)

    def _turn(self, now_s: float) -> None:
        """A second is over."""
        if self._timer is not None:
            self._timer.cancel()
        counts, self._counts, self._timer = self._counts, Counter(), None
        self._hush, self._lines, self._over_s = self._lines > LINES_A_SECOND, 0, now_s + 1.0
        if counts:
            said = ", ".join(f"{number} {event}" for event, number in counts.items())
            _log(logging.INFO, "%s in the last second", said, extra={"event": "rate", "counts": dict(counts)})


def about(held: Held) -> dict[str, Any]:
    """What every line of a job carries."""
    return {"job_id": held.job_id, "task": held.name, "queue": held.queue, "attempt": held.attempt}


def say(level: int, event: str, message: str, *arguments: object, exc_info: Any = None, **extra: object) -> None:
    """A line of the worker itself."""
    _log(level, message, *arguments, extra={**extra, "event": event}, exc_info=exc_info)


def say_of(held: Held, level: int, event: str, message: str, error: Exception | None = None) -> None:
    """A line of one job, at any rate. message: what follows its task and id. error: to be shown with its traceback."""
    say(level, event, f"%s %s {message}", held.name, held.job_id, exc_info=error, **about(held))


def _log(level: int, message: str, *arguments: object, extra: dict[str, Any], exc_info: Any = None) -> None:
    try:
        LOG.log(level, message, *arguments, extra=extra, exc_info=exc_info)
    except Exception:  # noqa: BLE001  a user's handler or filter: what it raises is no job's fault, and ends no worker
        if logging.raiseExceptions:  # as logging's own handlers do
            traceback.print_exc()


def say_garbage(keys: Iterable[str], *, dropped: int = 0) -> None:
    """That something which is not aiotq's was found in these keys. dropped: tickets that a claim has dropped."""
    if dropped:
        said = "%d tickets were dropped at the claim: garbage, or of jobs that have ended or have others now"
        say(logging.DEBUG, "dropped", said, dropped, dropped=dropped)
    for key in keys:
        said = "something that is not aiotq's was found in %s and put aside: see the dead letters"
        say(logging.ERROR, "garbage", said, key, key=key)
