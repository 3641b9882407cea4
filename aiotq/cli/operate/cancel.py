"""`aiotq cancel ID...`, or `aiotq cancel --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate import options
from aiotq.cli.operate.acts import Act, perform
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.reach import Where

HELP = """\
aiotq cancel ID... [options]
aiotq cancel --all [which jobs] [options]

Keep jobs from running, or stop those that run at their next await. --all asks first."""
EXAMPLE = """\
Exit codes: 0 done, 1 nothing done or not to each, or no server answers, 2 used wrongly, or nobody
could be asked and --yes was not given.

Example: a job that runs for too long

  aiotq cancel c4d210"""

ACT = Act(
    verb="cancel",
    done="cancelled",
    refused="it has ended",
    asks=False,
    one=lambda inspector, job_id: inspector.cancel(job_id),
    many=lambda inspector, which: inspector.cancel_all(which),
)


def cancel(
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
