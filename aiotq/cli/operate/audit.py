"""`aiotq audit`: who has done what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.moments import clock
from aiotq.cli.operate.reach import Where, ask, hint, say, say_json
from aiotq.cli.operate.table import Column, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import AuditEntry

LIMIT = 50

HELP = """\
aiotq audit [options]

What people have done here, by the command line, the dashboard or their own code: who, when, what, to
which job or queue, and what came of it. Newest first; the last 10,000 are kept."""
EXAMPLE = """\
Exit codes: 0 fine, 1 no server answers, 2 used wrongly.

Example: who has paused that queue?

  aiotq audit --json | jq '.items[] | select(.action == "pause")'"""

COLUMNS = (
    Column(title="WHEN"),
    Column(title="WHO", least=10),
    Column(title="DID"),
    Column(title="TO", least=12),
    Column(title="CAME TO", least=10),
)


def audit(
    *,
    limit: options.Limit = LIMIT,
    cursor: options.Cursor = None,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Show a page of it."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    page = ask(where, lambda inspector: inspector.audit(cursor=cursor, limit=limit))
    if as_json:
        say_json(page)
        return EXIT_OK
    now = datetime.now(UTC)
    say(where, lambda sheet: lines(page.items, sheet, now))
    if page.cursor is not None:
        size = () if limit == LIMIT else ("--limit", str(limit))
        hint(f"more: {where.command('audit', *size, '--cursor', page.cursor)}")
    return EXIT_OK


def lines(entries: Sequence[AuditEntry], sheet: Sheet, now: datetime) -> list[Line]:
    """A line each."""
    if not entries:
        return [(("nobody has done anything here yet", ""),)]
    rows = [
        [
            (clock(entry.at, now=now), "dim"),
            parts.told(entry.by),
            (parts.told(entry.action), "bold"),
            parts.told(entry.subject),
            parts.told(entry.came_to),
        ]
        for entry in entries
    ]
    return table(COLUMNS, rows, sheet)
