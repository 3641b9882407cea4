"""`aiotq check`: whether what waits would run with the code that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.cli import near
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import options, parts
from aiotq.cli.operate.reach import Where, app_of, ask_app, say, say_json
from aiotq.cli.text import count

if TYPE_CHECKING:
    from aiotq.cli.look import Line
    from aiotq.cli.operate.table import Sheet
    from aiotq.inspection.values import Fit, Misfit

MOST_IDS = 5  # of each group, without -v

HELP = """\
aiotq check [MODULE[:APP]] [options]

Before a deploy: loads the new code, and binds each job that is queued or scheduled to the signature of
its task. Says which of them would fail, and why: a task that was renamed, a parameter that was added,
an annotation that has become another. Changes nothing. The app is named here, by --app or AIOTQ_APP."""
EXAMPLE = """\
Exit codes, for CI: 0 all would run, 1 some would fail, or no server answers, 2 used wrongly, or the
code can't be imported.

Example: in the pipeline, before the new workers start

  aiotq check shop.tasks:app --url redis://redis.internal:6379"""


def check(
    target: options.Target = None,
    *,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = False,
) -> int:
    """Try it."""
    if target is None and app is None:
        raise Mistake(
            "no app was named, and it is its code that is tried", f"run: aiotq check {near.any_app() or 'MODULE:APP'}"
        )
    where = Where(url=url, namespace=namespace, target=target or app, as_json=as_json, verbose=verbose)
    fit = ask_app(where, app_of(where), lambda inspector: inspector.fit())
    if as_json:
        say_json(fit)
    else:
        say(where, lambda sheet: lines(fit, sheet))
    return EXIT_FAILURE if fit.misfits or fit.more else EXIT_OK


def lines(fit: Fit, sheet: Sheet) -> list[Line]:
    """The misfits by task and reason, the largest group first."""
    number = len(fit.misfits) + fit.more
    if not number:
        return [((f"all would run with this code: {count(fit.looked, 'waiting job')}" if fit.looked else
                  "no job waits: there is nothing that could fail", "green"),)]  # fmt: skip
    groups: dict[tuple[str, str], list[Misfit]] = {}
    for misfit in fit.misfits:
        groups.setdefault((misfit.task, misfit.why), []).append(misfit)
    shown: list[Line] = [((f"{number:,} of {count(fit.looked, 'waiting job')} would fail with this code", "bold red"),)]
    for (task, why), misfits in sorted(groups.items(), key=lambda group: -len(group[1])):
        shown.append(((f"  {len(misfits):,} of ", ""), (parts.told(task), "bold"), (f": {parts.told(why)}", "")))
        queues = ", ".join(sorted({parts.told(misfit.queue) for misfit in misfits}))
        listed = misfits if sheet.look.verbose else misfits[:MOST_IDS]
        ids = ", ".join(parts.id_of(one.id, sheet) for one in listed)
        more = f" and {len(misfits) - len(listed):,} more" if len(listed) < len(misfits) else ""
        shown.append(((f"    in {queues}: {ids}{more}", "dim"),))
    if fit.more:
        shown.append(((f"  and {fit.more:,} more that are not listed", "dim"),))
    return shown
