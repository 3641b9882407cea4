"""`aiotq requeue ID... [--to QUEUE]`, or `aiotq requeue --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate.acts import EXIT_CODES, Command, function
from aiotq.inspection.acts import Act

HELP = """\
aiotq requeue ID... [--to QUEUE] [options]
aiotq requeue --all [which jobs] [--to QUEUE] [options]

Put jobs that wait at the back of their queue, or of another one that there is (--new: or is made).
Scheduled ones are due at once then, and suspects, whose worker vanished twice or more, are ordinary
jobs again. --all asks first."""
EXAMPLE = f"""\
{EXIT_CODES}nobody serves a queue whose name was mistyped

  aiotq requeue --all --queue mial --to mail"""

requeue = function(
    Command(
        act=Act.REQUEUE,
        done="requeued",
        moves=True,
    )
)
