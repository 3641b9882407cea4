"""`aiotq resume QUEUE`."""

from __future__ import annotations

from aiotq.cli.operate.a_queue import holding

HELP = """\
aiotq resume QUEUE [options]

Jobs of a paused queue are claimed again."""
EXAMPLE = """\
Exit codes: 0 done, or it was so already, 1 no such queue, or no server answers, 2 used wrongly.

Example: go on with the e-mails

  aiotq resume email"""

resume = holding(pause=False)
