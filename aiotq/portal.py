"""A loop in a thread of its own, for callers that have none: threads, and programs without asyncio."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

GOODBYE_S = 2.0  # how long the program's end waits for it


class Portal:
    """A daemon thread that runs an event loop until the program ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="delay_sync (aiotq)", daemon=True)
        self._goodbyes: dict[Callable[[], Coroutine[Any, Any, None]], None] = {}
        self._thread.start()
        atexit.register(self.close)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the portal's loop and wait for its end; it is cancelled if the waiting is interrupted."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def at_end(self, goodbye: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have this run on the portal's loop before the program ends."""
        self._goodbyes[goodbye] = None

    def close(self) -> None:
        """Say the goodbyes and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=GOODBYE_S)

    def _run(self) -> None:
        # No asyncio.Runner: its end starts a thread, and from 3.12 on the interpreter lets none start when it ends.
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._say_goodbye())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _say_goodbye(self) -> None:
        try:
            for goodbye in self._goodbyes:
                await goodbye()
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


_lock = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """The process's one portal, started at its first use."""
    global _portal  # noqa: PLW0603  the one portal
    with _lock:
        if _portal is None:
            _portal = Portal()
        return _portal


def _forget() -> None:
    """In a child of a fork: the parent's thread did not come along."""
    global _lock, _portal
    _lock, _portal = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
