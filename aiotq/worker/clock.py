"""Redis's clock, as this worker knows it: what replies said, and the monotonic time since."""

from __future__ import annotations

from time import monotonic


class ServerClock:
    """No clock of the host is trusted. A step of Redis's clock shows with the next reply.

    A reply is late by an unknown part of its round trip. So a time that can be true is kept: of two replies the quicker
    one is believed, and a slow one does not set the clock back, to before what has been stamped already.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known = 0.0, monotonic()  # Unix ms at a moment; in one, as other threads read it

    def at(self, at_s: float) -> int:
        """`now_ms` of that moment (monotonic), for whoever has looked at the clock already."""
        return int(self._passed_ms(at_s))

    def set(self, now_ms: int, *, sent_at_s: float) -> None:
        """A reply said what time it was, at some moment since its request was sent (monotonic)."""
        at_s = monotonic()
        latest_ms = now_ms + 1 + (at_s - sent_at_s) * 1000  # it was cut to whole milliseconds
        self._known = min(max(self._passed_ms(at_s), float(now_ms)), latest_ms), at_s

    def now_ms(self) -> int:
        """Unix milliseconds by Redis's clock; 0 before the first reply."""
        return self.at(monotonic())

    def _passed_ms(self, at_s: float) -> float:
        ms, since_s = self._known
        return ms + (at_s - since_s) * 1000 if ms else 0.0
