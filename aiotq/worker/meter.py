"""Counts what becomes of a worker's attempts, in memory: what operators see of throughput, latency and failures.

It only grows, and is read by another thread (tell.py), which tells the store by how much: so a job costs no lock. What
is read while a batch is being counted is told with the next one.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from operator import mul
from typing import TYPE_CHECKING

from msgspec import structs

from aiotq.job import Cancelled, Failed, Retried, Returned, Succeeded
from aiotq.store.tallies import BOUNDS_MS, Failing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiotq.worker.held import Held

MAX_TASKS = 200  # names; those that come later are counted together
MAX_UNKNOWN = 50  # of these, names of tasks that this worker does not know: anybody may have made them up
MAX_FAILING = 200  # kinds of failures between two tallies
MAX_TEXT = 200  # characters of an error's type, and of its message
OTHER = "(other)"
_BOUNDS_S = tuple(bound_ms / 1000 for bound_ms in BOUNDS_MS)
_FINE_MS = 1_000
_SHORT = [bound_ms for bound_ms in BOUNDS_MS if bound_ms <= _FINE_MS]

_COUNTED_AS: Mapping[type, str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Retried: "retried",
    Cancelled: "cancelled",
    Returned: "returned",
}
_PLACES: Mapping[type, int] = {Succeeded: 0, Failed: 1, Retried: 2, Cancelled: 3}  # in a task's row
_ROW = "sfrc"
_MS = 4  # the last of a row: how long its attempts took


class Meter:
    """Of one worker. Written on its loop; `counters` and `take_failures` may be called by another thread."""

    def __init__(self) -> None:
        self._kinds = dict.fromkeys(_COUNTED_AS.values(), 0)
        self._waited = [0] * (_FINE_MS + 1)  # by the millisecond: a bucket each would cost as much as all the rest
        self._waited_long, self._ran = [0] * (len(BOUNDS_MS) + 1), [0] * (len(BOUNDS_MS) + 1)
        self._waited_long_ms, self._ran_ms = 0, 0.0
        self._queues: dict[str, int] = {}  # jobs that ended in it
        self._tasks: dict[str, list[float]] = {}
        self._unknown = 0  # of these, tasks that this worker does not know
        self._failing: dict[tuple[str, str], Failing] = {}
        self._lock = threading.Lock()  # of the failures

    # --- on the worker's loop -------------------------------------------------------------------------------------

    def started(self, held: Held) -> None:
        """An attempt begins. Cost: 0.3 µs."""
        record, started_ms = held.record, held.started_ms
        if record is None or started_ms is None:
            return
        doc = record.doc
        waited_ms = started_ms - (doc.due_ms or record.enqueued_ms + (doc.delay_ms or 0))
        if 0 <= waited_ms <= _FINE_MS:
            self._waited[waited_ms] += 1
        elif waited_ms < 0:  # the clocks differ a little
            self._waited[0] += 1
        else:
            self._waited_long[bisect_left(BOUNDS_MS, waited_ms)] += 1
            self._waited_long_ms += waited_ms

    def decided(self, jobs: Sequence[Held], now_s: float) -> None:
        """They have their outcomes. now_s: monotonic.

        Jobs that were claimed together mostly began and end together: 0.1 µs each, and 1 µs for all of them.
        """
        first, task, queue, started_s, count = None, None, "", 0.0, 0
        for held in jobs:
            if type(held.outcome) is not Succeeded:
                self._other(held, now_s)
                continue
            if held.started_s != started_s or held.task is not task or held.queue != queue:
                if first is not None:
                    self._succeeded(first, count, now_s - started_s)
                first, task, queue, started_s, count = held, held.task, held.queue, held.started_s, 0
            count += 1
        if first is not None:
            self._succeeded(first, count, now_s - started_s)

    def _succeeded(self, held: Held, count: int, took_s: float) -> None:
        """So many of one task, in one queue, that took so long each."""
        total_ms = took_s * count * 1000
        self._ran[bisect_left(_BOUNDS_S, took_s)] += count
        self._ran_ms += total_ms
        self._kinds["succeeded"] += count
        self._queues[held.queue] = self._queues.get(held.queue, 0) + count
        row = self._tasks.get(held.name) or self._row(held)
        row[0] += count
        row[_MS] += total_ms

    def void(self, held: Held) -> None:
        """What was counted of it does not count: it was another worker's by then."""
        self._come_to(held, -1)

    def _other(self, held: Held, now_s: float) -> None:
        """An attempt that did not succeed."""
        outcome = held.outcome
        if isinstance(outcome, Failed | Retried):
            self._note(held, outcome)
        row = self._come_to(held, 1)
        if held.started_ms is not None:
            took_s = now_s - held.started_s
            self._ran[bisect_left(_BOUNDS_S, took_s)] += 1
            self._ran_ms += took_s * 1000
            if row is not None:
                row[_MS] += took_s * 1000

    def _come_to(self, held: Held, more: int) -> list[float] | None:
        """Count an outcome. Returns its task's row if it is counted there."""
        outcome = held.outcome
        if isinstance(outcome, Returned) and held.handle is None:
            return None  # put back before it had started: nobody has seen it here
        if isinstance(outcome, Retried) and not outcome.counts:
            return None
        self._kinds[_COUNTED_AS[type(outcome)]] += more
        if isinstance(outcome, Succeeded | Failed | Cancelled):
            self._queues[held.queue] = self._queues.get(held.queue, 0) + more
        place = _PLACES.get(type(outcome))
        if place is None:
            return None
        row = self._row(held)
        row[place] += more
        return row

    def _row(self, held: Held) -> list[float]:
        name = held.name
        row = self._tasks.get(name)
        if row is None:
            unknown = held.task is None
            if len(self._tasks) >= MAX_TASKS or (unknown and self._unknown >= MAX_UNKNOWN):
                return self._tasks.setdefault(OTHER, [0] * (_MS + 1))
            self._unknown += unknown
            row = self._tasks[name] = [0] * (_MS + 1)
        return row

    def _note(self, held: Held, outcome: Failed | Retried) -> None:
        """The message is without what the task wants nobody to read: discreet.py has seen it.

        A job that was put back without an attempt (its task is unknown, say) is told of, and counts as none.
        """
        error = outcome.error
        task, kind, message = held.name, _plain(error.type), _plain(error.message)
        dead = isinstance(outcome, Failed)
        more = 1 if dead or outcome.counts else 0
        with self._lock:
            before = self._failing.get((task, kind))
            if before is None and len(self._failing) >= MAX_FAILING:
                task = kind = OTHER
                before = self._failing.get((task, kind))
            count = more if before is None else before.count + more
            self._failing[task, kind] = Failing(
                task=task, error=kind, count=count, job_id=held.job_id, message=message, dead=dead
            )

    # --- by whoever tells -----------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """All so far, by the names that the store has for them."""
        fine, waited, found = self._waited.copy(), self._waited_long.copy(), self._kinds.copy()
        begin = 0
        for index, bound_ms in enumerate(_SHORT):
            waited[index] += sum(fine[begin : bound_ms + 1])
            begin = bound_ms + 1
        found["started"] = sum(waited)
        found["wt"] = self._waited_long_ms + sum(map(mul, fine, range(len(fine))))
        found["rt"] = int(self._ran_ms)
        for kind, buckets in (("w", waited), ("r", self._ran.copy())):
            found.update((f"{kind}{index}", number) for index, number in enumerate(buckets))
        found.update((f"q:{queue}", number) for queue, number in self._queues.copy().items())
        for name, row in self._tasks.copy().items():
            found.update((f"t:{how}:{name}", int(number)) for how, number in zip(_ROW, row, strict=False))
            found[f"tm:{name}"] = int(row[_MS])
        return found

    @property
    def has_failures(self) -> bool:
        """Whether there are failures to take."""
        return bool(self._failing)

    def take_failures(self, most: int) -> list[Failing]:
        """Those since they were taken last, at most so many; the others stay."""
        with self._lock:
            return [self._failing.pop(key) for key in list(self._failing)[:most]]

    def put_back(self, failures: Sequence[Failing]) -> None:
        """What was taken could not be told, and is to be taken again."""
        with self._lock:
            for failing in failures:
                key = (failing.task, failing.error)
                later = self._failing.get(key)
                self._failing[key] = (
                    failing if later is None else structs.replace(later, count=later.count + failing.count)
                )


def _plain(text: str) -> str:
    """Text that any store and any reader takes."""
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode()
