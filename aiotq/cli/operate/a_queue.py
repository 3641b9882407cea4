"""What the commands on one queue share: that it is there, or what was meant instead; and holding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import options
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, ask, say, say_json
from aiotq.cli.text import listed, printable
from aiotq.likeness import closest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotq.inspection.values import QueueInfo
    from aiotq.inspector import Inspector


def named(text: str | None, command: str) -> str:
    """The name that was given. Raises Mistake if there is none, UsageError if it can't be one."""
    if text is None:
        raise Mistake("no queue was named", f"name it: aiotq {command} QUEUE", "all of them: aiotq queues")
    return checks.queue("QUEUE", text)


async def existing(inspector: Inspector, name: str, *, or_else: str = "") -> QueueInfo:
    """What is known of that queue. Raises Mistake if there is none of that name, with the one that looks like it.

    or_else: what else a person may have wanted.
    """
    known = {queue.name: queue for queue in await inspector.queues()}
    if name in known:
        return known[name]
    more = (or_else,) if or_else else ()
    raise Mistake(f"there is no queue {name!r}", _meant(name, list(known)), *more, exit_code=EXIT_FAILURE)


async def missing(inspector: Inspector, name: str) -> str | None:
    """In one line that there is no such queue, and which was meant; None: there is one."""
    known = [queue.name for queue in await inspector.queues()]
    return None if name in known else f"there is no queue {name!r}; {_meant(name, known)}"


def _meant(name: str, known: list[str]) -> str:
    close = closest(name, known, most=1, cutoff=0.6)
    return (
        f"did you mean {printable(close[0])}?" if close else f"there are: {listed([*map(printable, known)]) or 'none'}"
    )


# --- holding --------------------------------------------------------------------------------------------------------


def holding(*, pause: bool) -> Callable[..., int]:
    """What typer calls for `pause`, or for `resume`."""

    def run(
        queue: options.QueueName = None,
        *,
        url: options.Url = None,
        namespace: options.Namespace = None,
        app: options.AppName = None,
        as_json: options.AsJson = False,
    ) -> int:
        name = named(queue, "pause" if pause else "resume")
        where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
        changed = ask(where, lambda inspector: _hold(inspector, name, pause=pause), acts=True)
        so_already = f"{told(name)} is paused already" if pause else f"{told(name)} is not paused"
        line = f"{'paused' if pause else 'resumed'} {told(name)}" if changed else so_already
        if as_json:
            say_json({"queue": name, "paused": pause, "changed": changed})
        else:
            say(where, lambda _sheet: [((line, ""),)])
        return EXIT_OK

    return run


async def _hold(inspector: Inspector, name: str, *, pause: bool) -> bool:
    await existing(inspector, name)
    return await (inspector.pause(name) if pause else inspector.resume(name))
