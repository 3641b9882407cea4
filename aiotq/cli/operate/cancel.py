"""`aiotq cancel ID...`, or `aiotq cancel --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate.acts import EXIT_CODES, Command, function
from aiotq.inspection.acts import Act

HELP = """\
aiotq cancel ID... [options]
aiotq cancel --all [which jobs] [options]

Keep jobs from running. Of those that run, the workers are asked to stop them: a job ends at its next
await, one with process=True at once, and a plain def, or code that blocks its event loop, goes on until
it returns or its worker ends. Asks first: a cancelled job can't be retried."""
EXAMPLE = f"""\
{EXIT_CODES}a job that runs for too long

  aiotq cancel c4d210"""

cancel = function(Command(act=Act.CANCEL, done="cancelled", asks=True))
