"""`aiotq discard ID...`, or `aiotq discard --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate import options
from aiotq.cli.operate.acts import Act, perform
from aiotq.cli.operate.choice import chosen
from aiotq.cli.operate.reach import Where
from aiotq.job import JobStatus

HELP = """\
aiotq discard ID... [options]
aiotq discard --all [which jobs] [options]

Throw dead letters away: failed jobs that nobody will retry; by id, or with --state, also others
that have ended. Asks first."""
EXAMPLE = """\
Exit codes: 0 done, 1 nothing done or not to each, or no server answers, 2 used wrongly, or nobody
could be asked and --yes was not given.

Example: failures of a task that no longer exists

  aiotq discard --all --task old_report --yes"""

ACT = Act(
    verb="discard",
    done="discarded",
    refused="it has not ended",
    asks=True,
    states=(JobStatus.FAILED, JobStatus.SUCCEEDED, JobStatus.CANCELLED),
    one=lambda inspector, job_id: inspector.discard(job_id),
    many=lambda inspector, which: inspector.discard_all(which),
)


def discard(
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
