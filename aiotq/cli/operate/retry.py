"""`aiotq retry ID...`, or `aiotq retry --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate import options
from aiotq.cli.operate.acts import Act, perform
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.reach import Where
from aiotq.job import JobStatus

HELP = """\
aiotq retry ID... [options]
aiotq retry --all [which jobs] [options]

Run failed jobs again: each goes back to its queue, with all its attempts. --all asks first."""
EXAMPLE = """\
Exit codes: 0 done, 1 nothing done or not to each, or no server answers, 2 used wrongly, or nobody
could be asked and --yes was not given.

Example: after the mail server is back

  aiotq retry --all --task send_mail --since 2h"""

ACT = Act(
    verb="retry",
    done="retried",
    refused="it has not failed",
    asks=False,
    states=(JobStatus.FAILED,),
    one=lambda inspector, job_id: inspector.retry(job_id),
    many=lambda inspector, which: inspector.retry_all(which),
)


def retry(
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
