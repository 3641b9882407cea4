"""`aiotq queues`: how many wait, for how long, who serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.reach import Where, ask, say, say_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import QueueInfo

HELP = """\
aiotq queues [options]

Each queue: how many jobs wait in it, for how long the first has, how many run, how many live workers
serve it, and how many came and ended in a minute. -v shows how many wait by priority."""
EXAMPLE = """\
Exit codes: 0 fine, 1 no server answers, 2 used wrongly.

Example: which queues does nobody serve?

  aiotq queues --json | jq -r '.[] | select(.workers == 0) | .name'"""


def queues(
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Show them."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    found = ask(where, lambda inspector: inspector.queues())
    if as_json:
        say_json(found)
    else:
        say(where, lambda sheet: lines(found, sheet))
    return EXIT_OK


def lines(found: Sequence[QueueInfo], sheet: Sheet) -> list[Line]:
    """The table, and with -v the priorities."""
    if not found:
        return [(("there is no queue: nothing was ever enqueued in this namespace, and no worker serves one", ""),)]
    shown = parts.queues(found, sheet)
    if sheet.look.verbose:
        for queue in found:
            by = ", ".join(f"{number:,} at {priority}" for priority, number in sorted(queue.by_priority.items()))
            if by:
                shown.append(((f"  {parts.told(queue.name)}: by priority (0 first): {by}", "dim"),))
    return shown
