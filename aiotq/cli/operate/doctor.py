"""`aiotq doctor`: what of the server would hurt, and the line that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.reach import Where, ask, say, say_json
from aiotq.inspection.values import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import Check

HELP = """\
aiotq doctor [options]

Look at the server: its version, what it does when its memory is full, whether it saves to disk, its
clock, how it encodes lists, what this user may do, how fast it answers, how many clients it has.
Below each finding stands the line that mends it. What is well is shown with -v."""
EXAMPLE = """\
Exit codes: 0 nothing critical, 1 something critical, or no server answers, 2 used wrongly.

Example: before the first deploy

  aiotq doctor --url rediss://redis.internal:6380"""

_ORDER = (Severity.CRITICAL, Severity.WARNING, Severity.NOTE, Severity.OK)


def doctor(
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Look at it."""
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
    found = ask(where, lambda inspector: inspector.checkup())
    if as_json:
        say_json(found)
    else:
        say(where, lambda sheet: lines(found, sheet))
    return EXIT_FAILURE if any(check.severity is Severity.CRITICAL for check in found) else EXIT_OK


def lines(found: Sequence[Check], sheet: Sheet) -> list[Line]:
    """A finding a line with its mending below, the worst first; what is well in one line, or with -v a line each."""
    shown: list[Line] = []
    ordered = sorted(found, key=lambda check: _ORDER.index(check.severity))
    well = [check for check in ordered if check.severity is Severity.OK]
    for check in ordered:
        if check.severity is not Severity.OK or sheet.look.verbose:
            shown += _check(check, sheet)
    if not sheet.look.verbose and well:
        names = ", ".join(parts.told(check.name) for check in well)
        room = parts.narrower_than(sheet, 11)
        first, *rest = parts.wrapped(names, room)
        shown.append((parts.mark(Severity.OK, sheet, width=8), (f" well: {first}", "")))
        shown += [((" " * (8 if sheet.look.symbols else 15), ""), (row, "")) for row in rest]
    return shown


def _check(check: Check, sheet: Sheet) -> list[Line]:
    indent = 2 if sheet.look.symbols else 9
    first, *rest = parts.wrapped(
        f"{parts.told(check.name)}: {parts.told(check.what)}", parts.narrower_than(sheet, indent)
    )
    made: list[Line] = [(parts.mark(check.severity, sheet, width=8), (" ", ""), (first, ""))]
    made += [((" " * indent, ""), (row, "")) for row in rest]
    if check.fix:
        rows = parts.steps(parts.told(check.fix), parts.narrower_than(sheet, indent + 2))
        made += [((" " * (indent + 2), ""), (row, "cyan")) for row in rows]
    return made
