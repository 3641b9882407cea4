"""What SIGINT and SIGTERM do to a worker: the first stops it gently, the second now, the third ends the process.

Under a supervisor each only stops it gently: the supervisor counts, and a terminal sends its own to both.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_FORCED

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def two_steps(
    loop: AbstractEventLoop,
    *,
    gently: Callable[[], None],
    now: Callable[[], None],
    end: Callable[[int], None] = os._exit,
    counted: Callable[[], bool] = lambda: True,
    deaf_after: bool = False,
) -> Generator[None]:
    """Within it, signals call `gently`, then `now`, in the loop; the third calls `end` at once, with the exit code.

    The handlers run in the main thread between two bytecodes, so that a task that blocks the loop can't hold off the
    third one: therefore no `loop.add_signal_handler`, which would wait for the loop. counted: whether they are counted.
    deaf_after: ignore them afterwards, so that one more does not make a failure of an end that is all but there.
    """
    seen = 0

    def handle(_number: int, _frame: object) -> None:
        nonlocal seen
        seen = seen + 1 if counted() else 1
        if seen > 2:
            end(EXIT_FORCED)
        loop.call_soon_threadsafe(gently if seen == 1 else now)

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if deaf_after else handler)
