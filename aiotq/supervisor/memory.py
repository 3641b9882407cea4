"""How much memory this process takes, and a watch that says when that is too much."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiotq.worker.vitals import resident_bytes

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator

LOOK_S = 0.5
IDLE_LOOK_S = 10.0


@contextmanager
def watched_memory(
    loop: AbstractEventLoop, *, limit: int, done: Callable[[], int], over: Callable[[int], None]
) -> Generator[None]:
    """Within it, `over` is called once with the bytes taken, when they are more than `limit`.

    Looked at soon after jobs have ended (done: how many have), and now and then: 10 µs a look.
    """
    seen, idle_s = done(), 0.0

    def look() -> None:
        nonlocal timer, seen, idle_s
        idle_s += LOOK_S
        if done() != seen or idle_s >= IDLE_LOOK_S:
            seen, idle_s = done(), 0.0
            taken = resident_bytes()
            if taken > limit:
                over(taken)
                return
        timer = loop.call_later(LOOK_S, look)

    timer = loop.call_later(LOOK_S, look)
    try:
        yield
    finally:
        timer.cancel()
