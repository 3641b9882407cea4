"""`aiotq retry ID...`, or `aiotq retry --all` with filters."""

from __future__ import annotations

from aiotq.cli.operate.acts import EXIT_CODES, Command, function
from aiotq.inspection.acts import Act

HELP = """\
aiotq retry ID... [options]
aiotq retry --all [which jobs] [options]

Run failed jobs again: each goes back to its queue, with all its attempts. --all asks first."""
EXAMPLE = f"""\
{EXIT_CODES}after the mail server is back

  aiotq retry --all --task send_mail --since 2h"""

retry = function(Command(act=Act.RETRY, done="retried"))
