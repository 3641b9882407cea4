"""A clock that moves only when a test moves it."""

from __future__ import annotations

import asyncio
import heapq

START_MS = 1_800_000_000_000  # 15 January 2027, 08:00 UTC


class VirtualClock:
    """Time as an argument: `now_ms()` for every verb that takes it, `advance(ms=...)` to let time pass."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []
        self._count = 0

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self._now_ms

    def advance(self, *, ms: int) -> None:
        """Let `ms` milliseconds pass, and wake who has slept long enough."""
        assert ms >= 0, "time does not go back here"
        self._now_ms += ms
        while self._sleepers and self._sleepers[0][0] <= self._now_ms:
            heapq.heappop(self._sleepers)[2].set()

    async def sleep_until(self, due_ms: int) -> None:
        """Return once `advance` has come to `due_ms`."""
        if due_ms <= self._now_ms:
            return
        self._count += 1
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (due_ms, self._count, woken))
        await woken.wait()
