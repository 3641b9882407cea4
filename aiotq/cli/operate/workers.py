"""`aiotq workers`: who works, on what, and how each one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.reach import Where, ask, say, say_json
from aiotq.cli.operate.table import Column, table
from aiotq.cli.text import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import WorkerInfo

MOST_JOBS = 5  # of each worker, without -v

HELP = """\
aiotq workers [options]

Each worker: how it does, how many of its slots are taken, when it was last heard of, what it serves,
where it runs; and below the jobs in its hands, as it said at its last heartbeat, those that have run
longest first. -v shows all of them."""
EXAMPLE = """\
Exit codes: 0 fine, 1 no server answers, 2 used wrongly.

Example: which workers hold slots that can't be freed?

  aiotq workers --json | jq '.[] | select(.stuck > 0)'"""

_JOBS = (
    Column(title="JOB"),
    Column(title="TASK", least=10),
    Column(title="QUEUE", least=6),
    Column(title="ATTEMPT", right=True, spare=1),
    Column(title="RUNNING FOR", right=True),
)


def workers(
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Show them."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    found = ask(where, lambda inspector: inspector.workers())
    if as_json:
        say_json(found)
    else:
        say(where, lambda sheet: lines(found, sheet))
    return EXIT_OK


def lines(found: Sequence[WorkerInfo], sheet: Sheet) -> list[Line]:
    """The table, and below it what each one runs."""
    if not found:
        return [(("no worker is alive; start one: python -m aiotq MODULE:APP", ""),)]
    shown = parts.workers(found, sheet)
    for worker in found:
        jobs = worker.jobs if sheet.look.verbose else worker.jobs[:MOST_JOBS]
        if jobs:
            shown += [(("", ""),), ((f"in the hands of {parts.told(worker.label)}", "dim"),)]
            rows = [
                [
                    (parts.id_of(job.id, sheet), "bold"),
                    parts.told(job.task if sheet.look.verbose else parts.short_task(job.task)),
                    parts.told(job.queue),
                    str(job.attempt),
                    duration(job.running_s),
                ]
                for job in jobs
            ]
            shown += table(_JOBS, rows, sheet, indent="  ")
        if len(jobs) < worker.used:
            shown.append(((f"  and {worker.used - len(jobs):,} more", "dim"),))
    return shown
