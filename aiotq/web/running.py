"""Acts that are being done: each goes on to its end though the person who asked for it has closed the page."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from aiotq.errors import AiotqError
from aiotq.inspection.audit import plain

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
log = logging.getLogger("aiotq.web")
LONGEST = 1_000  # of a reason, in characters


class Running:
    """The acts of one dashboard, each in a task of its own, whose owner this is."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def whole(self, act: Coroutine[Any, Any, T]) -> T:
        """What it comes to. Where its request is cancelled meanwhile, by a server or a middleware, it goes on."""
        task = asyncio.get_running_loop().create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_alone)
            raise

    async def end(self) -> None:
        """Stop them all, as the process does: between two of their steps, with an entry in the audit."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _alone(task: asyncio.Task[Any]) -> None:
    """An act has ended after who asked for it had gone: that it failed is told here, and to nobody else."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, AiotqError):
        log.warning("an act failed after its page had been closed: %s", plain(str(error), most=LONGEST))
    elif error is not None:
        log.error("an act failed, by a mistake in aiotq; please report it", exc_info=error)
