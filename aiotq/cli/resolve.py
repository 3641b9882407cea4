"""From `shop.tasks:app` on the command line to the App in the module, with a helpful word where that fails."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aiotq.app import App, default_app
from aiotq.cli import near
from aiotq.cli.mistake import Mistake
from aiotq.cli.text import count, listed
from aiotq.cli.traces import innermost, user_traceback
from aiotq.store import redact

if TYPE_CHECKING:
    from types import ModuleType


def resolve(target: str) -> App:
    """The App that `target` names: "module:app", or "module" for the one in it, else the default app if it has tasks.

    Imports the module, with the current folder first on `sys.path`. Raises Mistake.
    """
    if "://" in target or "@" in target:
        raise Mistake(
            f"{redact(target)!r} is no module; the URL of a server stands in AIOTQ_URL, or behind --url",
            f"run: python -m aiotq {near.any_app() or 'hello:app'}",
        )
    module_name, _, attribute = target.partition(":")
    module = imported(module_name, attribute)
    apps = _apps(module)
    if attribute:
        return _named(module, attribute, apps)
    if len(apps) == 1:
        return next(iter(apps.values()))
    if apps:
        raise Mistake(f"{module_name!r} has {count(len(apps), 'App')}: {listed(list(apps))}", _run(module_name, apps))
    if len(default_app().registry):
        return default_app()
    raise Mistake(
        f"there is no App in {module_name!r}, and no task on the default app",
        "write app = App() in it and decorate a function with @app.task, or with @task from aiotq alone",
    )


def imported(name: str, attribute: str = "") -> ModuleType:
    """The module of that name, with the current folder first on `sys.path`. attribute: wanted in it. Raises Mistake."""
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    _refuse_path(name, attribute)
    return _import(name, attribute)


def _run(module: str, apps: dict[str, App]) -> str:
    return f"run: python -m aiotq {module}:{next(iter(apps))}"


def _apps(module: ModuleType) -> dict[str, App]:
    """The Apps in a module by name, each once."""
    found: dict[int, tuple[str, App]] = {}
    for name, value in vars(module).items():
        if isinstance(value, App):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _named(module: ModuleType, attribute: str, apps: dict[str, App]) -> App:
    name = module.__name__
    try:
        value: object = module
        for part in attribute.split("."):
            value = getattr(value, part)
    except AttributeError:
        told, nor = f"{name!r} has no {attribute!r}", "no App at all"
    else:
        if isinstance(value, App):
            return value
        told, nor = f"{f'{name}:{attribute}'!r} is no App, but {_kind(value)}", f"there is no App in {name!r}"
    if apps:
        close = get_close_matches(attribute, apps, n=1)
        best = {close[0]: apps[close[0]]} if close else apps
        raise Mistake(f"{told}. Apps in it: {listed(list(apps))}", _run(name, best))
    if len(default_app().registry):
        raise Mistake(f"{told}, and {nor}; its tasks are on the default app", f"run: python -m aiotq {name}")
    raise Mistake(f"{told}, and {nor}", "write app = App() in it and decorate a function with @app.task")


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _refuse_path(module: str, attribute: str) -> None:
    """A file's path, or no name at all, where a module's name is expected."""
    if module.endswith(".py") or "/" in module or "\\" in module:
        name = near.module_of(module)
        there = (
            f"did you mean {_with_app(name, attribute)}?"
            if name and near.find(name)
            else "run: python -m aiotq hello:app"
        )
        raise Mistake(f"{module!r} is a file's path; the name of a module is expected, as in import", there)
    if not all(part.isidentifier() for part in module.split(".")):
        raise Mistake(
            f"{module!r} can't be the name of a module",
            "the app in hello.py: python -m aiotq hello:app",
        )


def _with_app(module: str, attribute: str) -> str:
    app = attribute or near.app_in_source(module)
    return f"{module}:{app}" if app else module


def _import(name: str, attribute: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}.") and innermost(error) is None:
            _no_module(name, attribute, missing=error.name)
        _import_failed(name, error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a user's module raises is said to its user
        _import_failed(name, error)


def _no_module(name: str, attribute: str, *, missing: str) -> NoReturn:
    of = "" if missing == name else f" (for {name!r})"
    if "." in name and missing == name and near.find(name.rpartition(".")[0]) is not None:
        of = f" in {name.rpartition('.')[0]!r}"
    guess = near.nearest_module(name)
    raise Mistake(
        f"there is no module {missing!r}{of} (looked in the current folder and sys.path)",
        f"did you mean {_with_app(guess, attribute)}?" if guess else f"the current folder is {Path.cwd()}",
    )


def _import_failed(name: str, error: BaseException) -> NoReturn:
    trace = user_traceback(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        at = innermost(error)
        guess = near.nearest_module(error.name)
        raise Mistake(
            f"importing {name!r} failed: there is no module {error.name!r}{f' (imported in {at})' if at else ''}",
            f"did you mean {guess}?" if guess else f"is it installed in this environment? ({sys.executable})",
            detail=trace,
        ) from error
    if isinstance(error, SystemExit):
        raise Mistake(
            f"importing {name!r} ended in sys.exit({error.code!r})",
            'put what the script does when run under: if __name__ == "__main__"',
            detail=trace,
        ) from error
    raise Mistake(f"importing {name!r} failed", detail=trace) from error
