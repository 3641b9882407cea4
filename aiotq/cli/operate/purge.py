"""`aiotq purge QUEUE`: end all that waits in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import a_queue, options
from aiotq.cli.operate.acts import confirm
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, ask, say, say_json
from aiotq.cli.text import count
from aiotq.inspection.values import Purged

if TYPE_CHECKING:
    from aiotq.inspection.arrivals import Moment
    from aiotq.inspection.values import QueueInfo
    from aiotq.inspector import Inspector

HELP = """\
aiotq purge QUEUE [options]

Cancel all jobs that wait in a queue (reason "purged"); those that run or are scheduled are left
alone. Counts first, and asks. Tickets that jobs have left which are gone (cancelled, or requeued
elsewhere) are cleared away too."""
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
    known, as_of = ask(where, lambda inspector: _looked(inspector, name))
    purged = Purged(ended=0, cleared=0)
    if known.waiting:
        question = f"cancel {count(known.waiting, 'job')} waiting in {told(name)}?"
        if known.leftovers >= known.waiting:
            tickets = count(known.waiting, "leftover ticket")
            question = f"no job waits in {told(name)}; clear {tickets} of jobs that are gone?"
        confirm(question, yes=yes)
        purged = ask(where, lambda inspector: inspector.purge(name, as_of=as_of), acts=True)
    if as_json:
        say_json({"queue": name, "purged": purged.ended, "cleared": purged.cleared})
    else:
        say(where, lambda _sheet: [((_said(purged, told(name), counted=bool(known.waiting)), ""),)])
    return EXIT_OK


async def _looked(inspector: Inspector, name: str) -> tuple[QueueInfo, Moment]:
    """The queue, and when: what comes from then on was not counted, and stays as far as that can be told."""
    as_of = await inspector.moment(name)
    return await a_queue.existing(inspector, name), as_of


def _said(purged: Purged, name: str, *, counted: bool) -> str:
    cleared = f"cleared {count(purged.cleared, 'leftover ticket')}"
    if purged.ended:
        return f"cancelled {count(purged.ended, 'job')} of {name}" + (f", {cleared}" if purged.cleared else "")
    if counted and not purged.cleared:
        return f"cancelled nothing of {name}: what was counted has been claimed, or is behind jobs that came since"
    return f"{cleared} of {name}, whose jobs were gone" if purged.cleared else f"nothing waits in {name}"
