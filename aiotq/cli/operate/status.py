"""`aiotq status`: one screen that says whether all is well, and if not, what is wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.look import plain
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.moments import clock
from aiotq.cli.operate.reach import Where, app_of, ask_app, namespace_of, say, say_json
from aiotq.cli.operate.table import cells
from aiotq.inspection.values import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import Overview

ROWS = 24  # of a terminal that nobody has made larger
MOST_FINDINGS = 6

HELP = """\
aiotq status [options]

One screen: is all well, and if not, what is wrong and what to do about it; then the server, the
queues, the workers, and what failed in the last hour. Needs no app; with --app it also knows which
tasks there should be. -v shows all rows."""
EXAMPLE = """\
Exit codes: 0 nothing critical, 1 something critical, or no server answers, 2 used wrongly.

Example: is all well there?

  aiotq status --url redis://redis.internal:6379"""


def status(
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Show it. Exit code 1 if something is critical."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    found = app_of(where)
    overview = ask_app(where, found, lambda inspector: inspector.overview())
    if as_json:
        say_json(overview)
    else:
        place = f"{found.source()}, namespace {namespace_of(found)}"
        say(where, lambda sheet: screen(overview, sheet, place=place))
    return EXIT_FAILURE if overview.severity is Severity.CRITICAL else EXIT_OK


def screen(overview: Overview, sheet: Sheet, *, place: str, rows: int | None = ROWS) -> list[Line]:
    """The whole screen. rows: how many lines it may take; findings are shown even beyond that."""
    full = sheet.look.verbose or rows is None
    lines = [_head(overview, sheet, place), parts.health(overview.findings, sheet)]
    lines += parts.findings(overview.findings, sheet, most=None if full else MOST_FINDINGS)
    lines += [(("", ""),), *parts.server(overview.server, sheet)]
    lines.append(parts.shortened(parts.totals(overview), sheet))
    lines += parts.traffic(overview.minutes, sheet)
    tables = [overview.queues, overview.workers, overview.failures]
    room = shares((rows or 0) - len(lines) - 2 * sum(map(bool, tables)), [len(table) for table in tables])
    most = [None, None, None] if full else room
    for shown in (
        parts.queues(overview.queues, sheet, most=most[0], more="aiotq queues"),
        parts.workers(overview.workers, sheet, most=most[1], more="aiotq workers"),
        parts.failures(overview.failures, sheet, overview.at, most=most[2], more="aiotq status -v"),
    ):
        if shown:
            lines += [(("", ""),), *shown]
    if not overview.queues and not overview.workers:
        lines += [(("", ""),), *_nothing_yet(sheet)]
    return lines


def _head(overview: Overview, sheet: Sheet, place: str) -> Line:
    """Where it looked, and when by the server's clock, if there is room for that too."""
    where, when = parts.told(place), f", {clock(overview.at, now=overview.at)}"
    line: Line = (("aiotq at ", "dim"), (where, ""), (when, "dim"))
    return line if sheet.width is None or cells(plain(line)) <= sheet.width else parts.shortened(line[:2], sheet)


def _nothing_yet(sheet: Sheet) -> list[Line]:
    said = (
        "No queue and no worker has been seen here: nothing was enqueued, or it is another namespace.",
        "start a worker: python -m aiotq MODULE:APP",
        "look elsewhere: aiotq status --namespace NAME",
    )
    return [((row, ""),) for text in said for row in parts.wrapped(text, sheet.width)]


def shares(room: int, wanted: Sequence[int]) -> list[int]:
    """How many of its rows each table shows: at least two, and evenly, a row less where the rest is told of."""
    if sum(wanted) <= room:
        return list(wanted)
    given = [min(2, number) for number in wanted]
    told = sum(1 for number in wanted if number > 2)  # a line each that says how many are left out
    while sum(given) + told < room and any(have < want for have, want in zip(given, wanted, strict=True)):
        least = min((place for place, have in enumerate(given) if have < wanted[place]), key=lambda place: given[place])
        given[least] += 1
        told = sum(have < want for have, want in zip(given, wanted, strict=True))
    return given
