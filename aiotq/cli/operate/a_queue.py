"""What the commands on one queue share: that it is there, or what was meant instead."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.cli.mistake import EXIT_FAILURE, Mistake
from aiotq.cli.text import listed, printable

if TYPE_CHECKING:
    from aiotq.inspection.values import QueueInfo
    from aiotq.inspector import Inspector


def named(text: str | None, command: str) -> str:
    """The name that was given. Raises Mistake if there is none, UsageError if it can't be one."""
    if text is None:
        raise Mistake("no queue was named", f"run: aiotq {command} QUEUE; aiotq queues lists them")
    return checks.queue("QUEUE", text)


async def nearest(inspector: Inspector, name: str) -> str | None:
    """The queue that looks like it, if there is none of that name."""
    known = [queue.name for queue in await inspector.queues()]
    return None if name in known else next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), None)


async def existing(inspector: Inspector, name: str) -> QueueInfo:
    """What is known of that queue. Raises Mistake if there is none of that name, with the one that looks like it."""
    known = {queue.name: queue for queue in await inspector.queues()}
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    there = (
        f"did you mean {printable(close[0])}?" if close else f"there are: {listed([*map(printable, known)]) or 'none'}"
    )
    raise Mistake(f"there is no queue {name!r}", there, exit_code=EXIT_FAILURE)
