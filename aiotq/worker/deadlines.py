"""Many deadlines, one timer, armed lazily for the earliest. A job that ends in time costs a push and no timer of its
own (0.6 µs against 2.1 for call_later and 4.9 for asyncio.timeout, measured).
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.worker.held import Held

    Action = Callable[[Held], None]
    Entry = tuple[float, int, ref[Held], Action]


class Deadlines:
    """Calls `action(held)` once its deadline is over, unless the job has been decided by then."""

    def __init__(self) -> None:
        # Weak, as an entry outlives its job, which may be megabytes.
        self._heap: list[Entry] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._prune_at = 1_000

    def add(self, at_s: float, held: Held, action: Action) -> None:
        """at_s: by the loop's clock (monotonic)."""
        self._count += 1
        heap = self._heap
        heappush(heap, (at_s, self._count, ref(held), action))
        if len(heap) > self._prune_at:
            self._prune()
        if self._timer is None or at_s < self._timer.when():
            self._arm()

    def close(self) -> None:
        """No action will be called any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _prune(self) -> None:
        """Forget the decided ones, so that long timeouts of short jobs don't pile up."""
        self._heap = [entry for entry in self._heap if _waits(entry)]
        heapify(self._heap)
        self._prune_at = max(1_000, 2 * len(self._heap))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        heap = self._heap
        while heap and (heap[0][0] <= now_s or not _waits(heap[0])):
            _, _, found, action = heappop(heap)
            held = found()
            if held is not None and held.outcome is None:
                action(held)
        if self._heap and self._timer is None:
            self._arm()


def _waits(entry: Entry) -> bool:
    held = entry[2]()
    return held is not None and held.outcome is None
