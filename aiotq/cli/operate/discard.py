"""`aiotq discard ID...`, or `aiotq discard --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate.acts import EXIT_CODES, Command, function
from aiotq.inspection.acts import Act

HELP = """\
aiotq discard ID... [options]
aiotq discard --all [which jobs] [options]

Throw dead letters away: failed jobs that nobody will retry; by id, or with --state, also others
that have ended. Asks first."""
EXAMPLE = f"""\
{EXIT_CODES}failures of a task that no longer exists

  aiotq discard --all --task old_report --yes"""

discard = function(
    Command(
        act=Act.DISCARD,
        done="discarded",
        asks=True,
    )
)
