"""`aiotq resume QUEUE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK
from aiotq.cli.operate import a_queue, options
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, ask, say, say_json

if TYPE_CHECKING:
    from aiotq.inspector import Inspector

HELP = """\
aiotq resume QUEUE [options]

Jobs of a paused queue are claimed again."""
EXAMPLE = """\
Exit codes: 0 done, 1 it was so already, no such queue, or no server answers, 2 used wrongly.

Example: go on with the e-mails

  aiotq resume email"""


def resume(
    queue: options.QueueName = None,
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Do it."""
    name = a_queue.named(queue, "resume")
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    done = ask(where, lambda inspector: _resume(inspector, name))
    line = f"resumed {told(name)}" if done else f"{told(name)} is not paused"
    if as_json:
        say_json({"queue": name, "resumed": done})
    else:
        say(where, lambda _sheet: [((line, ""),)])
    return EXIT_OK if done else EXIT_FAILURE


async def _resume(inspector: Inspector, name: str) -> bool:
    await a_queue.existing(inspector, name)
    return await inspector.resume(name)
