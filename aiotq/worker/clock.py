"""Redis's clock, as this worker knows it: what the last reply said, and the monotonic time since."""

from __future__ import annotations

from time import monotonic


class ServerClock:
    """No clock of the host is trusted. A step of Redis's clock shows with the next reply."""

    __slots__ = ("_at_s", "_ms")

    def __init__(self) -> None:
        self._ms, self._at_s = 0, monotonic()

    def set(self, now_ms: int) -> None:
        """A reply said what time it is."""
        self._ms, self._at_s = now_ms, monotonic()

    def now_ms(self) -> int:
        """Unix milliseconds by Redis's clock; 0 before the first reply."""
        return self._ms + int((monotonic() - self._at_s) * 1000) if self._ms else 0
