"""`--reload`: a supervisor that tries out the code anew whenever it has changed.

One process loads the new code while those of the old go on. If it comes to work, each seat's old process claims no
more, ends what it holds, and is replaced; if it does not, it has said why, and the old code goes on until the next one.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.supervisor.supervisor import Plan, Supervisor, first_of
from aiotq.supervisor.verdict import exit_code

if TYPE_CHECKING:
    from aiotq.supervisor.child import Child
    from aiotq.supervisor.verdict import End

SLOW_S = 10.0  # code that has not been loaded for so long is said to be slow
DISMISS_S = 5.0  # what one that loads gets to go by itself, as there is newer code still

# Yields what has changed since, file by file, until the event is set.
Changes = Callable[[asyncio.Event], AsyncIterator[Sequence[str]]]

log = logging.getLogger("aiotq.supervisor")


class Reloading(Supervisor):
    """One run of it, on the running loop."""

    def __init__(self, plan: Plan, changes: Changes) -> None:
        super().__init__(plan)
        self._changes = changes
        self._files: list[str] = []  # that have changed since the last try
        self._news = asyncio.Event()  # ... there are some
        self._over = asyncio.Event()  # nothing is loaded any more
        self._open = plan.count  # seats that are kept
        self._tried: Child | None = None  # with new code; it takes the first seat
        self._good = asyncio.Event()  # set, and made anew, whenever code has come to work

    # --- what the seats do otherwise ----------------------------------------------------------------------------

    async def _keep(self, number: int, seats: asyncio.TaskGroup) -> None:
        if number == 1:
            # Children of that group: they end once no seat is kept, and it waits for them.
            seats.create_task(self._watch())
            seats.create_task(self._reload())
        try:
            await super()._keep(number, seats)
        finally:
            self._open -= 1
            if not self._open:
                self._over.set()
                self._news.set()

    def _start(self, number: int) -> Child:
        tried = self._tried
        if number == 1 and tried is not None and not tried.process.ended.done():
            self._tried, self._seats[number] = None, tried
            return tried
        return super()._start(number)

    async def _room(self, child: Child, leaving: Child) -> None:
        """However many end their jobs on old code, new code is not kept waiting."""

    async def _follow(self, child: Child, end: End) -> bool:
        broken = child.broken
        if broken is None or end.ready or end.stopping or (end.first and not broken.theirs):
            return await super()._follow(child, end)
        good, self._codes[child.number] = self._good, 0
        log.warning("waiting for a change of the code", extra={"event": "waiting", "number": child.number})
        await _any(good, self._stopping)
        return not self._stopping.is_set()

    # --- changes ------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Take note of what changes."""
        try:
            async for files in self._changes(self._over):
                self._files = [*self._files, *(file for file in files if file not in self._files)]
                self._news.set()
        except OSError as error:  # as for more folders than the system lets anybody watch
            told = "changes can't be seen any more (%s): the code that runs goes on; start anew to load another"
            log.error(told, error, extra={"event": "blind"})  # noqa: TRY400  its text says it all

    async def _reload(self) -> None:
        """Try out new code, one try after the other."""
        while True:
            await _any(self._news, self._stopping, self._over)
            if self._stopping.is_set() or self._over.is_set():
                break
            self._news.clear()
            await self._try()
        if self._tried is not None:  # no seat takes it any more
            self._late.append(exit_code(await self._end_of(self._tried)))

    async def _try(self) -> None:
        began_s, files = monotonic(), self._files
        self._files, self._started = [], self._works.is_set()  # if none has worked yet, this one shows the banner
        ready = asyncio.Event()
        try:
            tried = self._child(1)
        except OSError as error:
            self._say_not(files, f"no process could be started for it ({error})")
            return
        tried.when_ready(ready.set)
        if not await self._came_to_something(tried, ready, within_s=SLOW_S):
            told = "what follows from a change in %s has been loading for %g s; the code of before goes on"
            log.warning(told, _named(files), SLOW_S, extra={"event": "slow", "files": files})
            await self._came_to_something(tried, ready)
        if ready.is_set() and not tried.process.ended.done():
            self._works.set()
            self._take_over(tried)
            told, took_s = "reloaded after a change in %s (%.1f s)", monotonic() - began_s
            log.info(told, _named(files), took_s, extra={"event": "reloaded", "files": files, "took_s": took_s})
            return
        if not tried.process.ended.done():  # there is newer code still, or all end
            self._files = [*files, *(file for file in self._files if file not in files)]
            tried.stop()
            await asyncio.wait([tried.process.ended], timeout=DISMISS_S)
            tried.process.send(signal.SIGKILL)
            await self._end_of(tried)
            return
        await self._end_of(tried)
        if not self._stopping.is_set():
            self._say_not(files, "see above")

    def _say_not(self, files: Sequence[str], why: str) -> None:
        rest = "the code of before goes on until the next one" if self._works.is_set() else "waiting for the next one"
        told = "not reloaded after a change in %s: %s; %s"
        log.error(told, _named(files), why, rest, extra={"event": "not_reloaded", "files": files})

    async def _came_to_something(self, tried: Child, ready: asyncio.Event, within_s: float | None = None) -> bool:
        """Wait until it works, or has ended, or is not wanted any more. False if that takes longer."""
        try:
            async with asyncio.timeout(within_s):
                await _any(ready, self._news, self._stopping, self._over, tried.process.ended)
        except TimeoutError:
            return False
        return True

    def _take_over(self, tried: Child) -> None:
        """It works: all others end what they hold, and make room."""
        self._tried = tried
        for child in tuple(self._seats.values()):
            if not child.process.ended.done():
                child.drain()
        good, self._good = self._good, asyncio.Event()
        good.set()


def _named(files: Sequence[str]) -> str:
    """The files, in a line: the first, and how many more."""
    first = next(iter(files), "the code")
    return first if len(files) < 2 else f"{first} and {len(files) - 1} more"


async def _any(*what: asyncio.Event | asyncio.Future[int]) -> None:
    """Wait until one of them has come."""
    waiting: list[asyncio.Future[int] | asyncio.Future[bool]] = []
    own: list[asyncio.Task[bool]] = []
    for one in what:
        if isinstance(one, asyncio.Event):
            own.append(asyncio.ensure_future(one.wait()))  # noqa: TID251  ended below
            waiting.append(own[-1])
        else:
            waiting.append(one)
    try:
        await first_of(*waiting)
    finally:
        for task in own:
            task.cancel()
