"""`aiotq requeue ID... [--to QUEUE]`, or `aiotq requeue --all` with filters."""

from __future__ import annotations

from typing import Annotated

from aiotq import checks
from aiotq.cli.mistake import Mistake
from aiotq.cli.operate import a_queue, options
from aiotq.cli.operate.acts import Act, perform
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import Where, ask

HELP = """\
aiotq requeue ID... [--to QUEUE] [options]
aiotq requeue --all [which jobs] [--to QUEUE] [options]

Put jobs that wait at the back of their queue, or of another one; scheduled ones too, and suspects,
whose worker vanished twice or more. --all asks first."""
EXAMPLE = """\
Exit codes: 0 done, 1 nothing done or not to each, or no server answers, 2 used wrongly, or nobody
could be asked and --yes was not given.

Example: nobody serves a queue whose name was mistyped

  aiotq requeue --all --queue mial --to mail"""

To = Annotated[str | None, options.option("--to", group="How it acts", takes="QUEUE", text="To this queue.")]


def requeue(
    ids: options.Ids = None,
    *,
    to: To = None,
    everything: options.All = False,
    state: options.State = None,
    queue: options.Queue = None,
    task: options.Task = None,
    error: options.Error = None,
    since: options.Since = None,
    until: options.Until = None,
    yes: options.Yes = False,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Act on them."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    which = chosen(status=state, queue=queue, task=task, error=error, since=since, until=until)
    goal = None if to is None else checks.queue("to", to)
    if goal is not None and not yes:
        meant = ask(where, lambda inspector: a_queue.nearest(inspector, goal))
        if meant is not None:
            raise Mistake(f"there is no queue {goal!r}", f"did you mean {told(meant)}? --yes makes a new one")
    act = Act(
        verb="requeue",
        done="requeued",
        refused="it does not wait",
        asks=False,
        one=lambda inspector, job_id: inspector.requeue(job_id, queue=goal),
        many=lambda inspector, found: inspector.requeue_all(found, queue=goal),
    )
    return perform(act, where, ids, which, everything=everything, yes=yes)
