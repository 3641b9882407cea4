"""`aiotq pause QUEUE`."""

from __future__ import annotations

from aiotq.cli.operate.a_queue import holding

HELP = """\
aiotq pause QUEUE [options]

No job of the queue is claimed until it is resumed; what runs goes on, and jobs still come in."""
EXAMPLE = """\
Exit codes: 0 done, or it was so already, 1 no such queue, or no server answers, 2 used wrongly.

Example: stop the e-mails while the server is mended

  aiotq pause email"""

pause = holding(pause=True)
