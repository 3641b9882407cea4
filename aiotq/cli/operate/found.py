"""From `shop.tasks:send_mail` on the command line to the task, with a helpful word where that fails."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from aiotq.app import App, default_app
from aiotq.cli.mistake import Mistake
from aiotq.cli.operate.reach import Where, app_of, pointed, theirs_on_stderr
from aiotq.cli.text import listed, printable
from aiotq.registry import task_at

if TYPE_CHECKING:
    from aiotq.task import Task


def task_of(where: Where, name: str) -> Task[..., Any]:
    """The task that is meant, its app with what the command line says before what the app says.

    name: a task's name, or the end of it, with `--app`; else "module:function". Raises Mistake.
    """
    if where.target is not None:
        return _named(app_of(where), name)
    module, colon, path = name.partition(":")
    if not colon or not path:
        raise Mistake(
            f"{name!r} does not say in which module the task is",
            f"name its module: aiotq enqueue MODULE:{printable(name)}",
            f"or its app: aiotq enqueue {printable(name)} --app MODULE:APP",
        )
    from aiotq.cli.resolve import imported  # noqa: PLC0415

    with theirs_on_stderr():
        loaded = imported(module)
    found = task_at(loaded, path)
    apps = [value for value in vars(loaded).values() if isinstance(value, App)]
    candidates = list(dict.fromkeys([*apps, default_app()]))
    if found is None:
        tasks = [task for app in candidates for task in app.tasks.values()]
        found = next((task for task in tasks if task.name in {name, path}), None)
    if found is None:
        raise _none(path, [task.registered.short for app in candidates for task in app.tasks.values()], module)
    pointed(found.core, where)
    return found


def _named(app: App, name: str) -> Task[..., Any]:
    exact = app.tasks.get(name)
    if exact is not None:
        return exact
    ends = [task for full, task in app.tasks.items() if full.endswith((f":{name}", f".{name}"))]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise Mistake(f"{len(ends)} tasks are named {name!r}", f"there are: {listed([t.name for t in ends])}")
    raise _none(name, list(app.tasks), "this app")


def _none(name: str, known: list[str], place: str) -> Mistake:
    close = get_close_matches(name, known, n=1)
    shown = listed([*map(printable, dict.fromkeys(known))]) or "none"
    there = f"did you mean {printable(close[0])}?" if close else f"its tasks: {shown}"
    return Mistake(f"there is no task {name!r} in {printable(place)}", there)
