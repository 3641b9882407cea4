"""`aiotq purge QUEUE`: end all that waits in a queue."""

from __future__ import annotations

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import a_queue, options
from aiotq.cli.operate.acts import confirm
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, ask, say, say_json
from aiotq.cli.text import count

HELP = """\
aiotq purge QUEUE [options]

Cancel all jobs that wait in a queue (reason "purged"); those that run or are scheduled are left
alone. Counts first, and asks."""
EXAMPLE = """\
Exit codes: 0 done, or nothing waits there, 1 no such queue, or no server answers, 2 used wrongly, or
nobody could be asked and --yes was not given.

Example: a loop has filled a queue by mistake

  aiotq pause reports && aiotq purge reports"""


def purge(
    queue: options.QueueName = None,
    *,
    yes: options.Yes = False,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Empty it."""
    name = a_queue.named(queue, "purge")
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    waiting = ask(where, lambda inspector: a_queue.existing(inspector, name)).waiting
    purged = 0
    if waiting:
        confirm(f"cancel {count(waiting, 'job')} waiting in {told(name)}?", yes=yes)
        purged = ask(where, lambda inspector: inspector.purge(name))
    line = f"cancelled {count(purged, 'job')} of {told(name)}" if purged else f"nothing waits in {told(name)}"
    if as_json:
        say_json({"queue": name, "purged": purged})
    else:
        say(where, lambda _sheet: [((line, ""),)])
    return EXIT_OK
