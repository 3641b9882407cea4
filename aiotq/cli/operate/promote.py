"""`aiotq promote ID...`, or `aiotq promote --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate import options
from aiotq.cli.operate.acts import Act, perform
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.reach import Where
from aiotq.job import JobStatus

HELP = """\
aiotq promote ID... [options]
aiotq promote --all [which jobs] [options]

Run scheduled jobs now: each goes to its queue, also one that waits for its next attempt."""
EXAMPLE = """\
Exit codes: 0 done, 1 nothing done or not to each, or no server answers, 2 used wrongly, or nobody
could be asked and --yes was not given.

Example: do not wait for the next attempt

  aiotq promote c4d210"""

ACT = Act(
    verb="promote",
    done="promoted",
    refused="it is not scheduled",
    asks=False,
    states=(JobStatus.SCHEDULED,),
    one=lambda inspector, job_id: inspector.promote(job_id),
    many=lambda inspector, which: inspector.promote_all(which),
)


def promote(
    ids: options.Ids = None,
    *,
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
    return perform(ACT, where, ids, which, everything=everything, yes=yes)
