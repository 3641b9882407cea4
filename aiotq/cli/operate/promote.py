"""`aiotq promote ID...`, or `aiotq promote --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate.acts import EXIT_CODES, Command, function
from aiotq.inspection.acts import Act

HELP = """\
aiotq promote ID... [options]
aiotq promote --all [which jobs] [options]

Run scheduled jobs now: each goes to its queue, also one that waits for its next attempt. --all asks
first."""
EXAMPLE = f"""\
{EXIT_CODES}do not wait for the next attempt

  aiotq promote c4d210"""

promote = function(Command(act=Act.PROMOTE, done="promoted"))
