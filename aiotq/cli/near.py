"""What a person may have meant by a module's name that leads nowhere. Looks at files only; runs none of them."""

from __future__ import annotations

import pkgutil
import re
import sys
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec

_APP = re.compile(r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:aiotq\.)?App\(", re.MULTILINE)
_MAX_SOURCE = 1 << 20  # bytes; a larger file is nobody's hello.py


def nearest_module(name: str) -> str | None:
    """An importable module whose name is close to `name`, or `name` itself if there is one; the user's own first."""
    parent, _, leaf = name.rpartition(".")
    if not parent:
        mine = _names([str(Path.cwd())])
        return _closest(leaf, mine, cutoff=0.6) or _closest(
            leaf, _names(sys.path) - sys.stdlib_module_names, cutoff=0.8
        )
    found = find(parent)
    if found is None or not found.submodule_search_locations:
        better = nearest_module(parent)
        return (nearest_module(f"{better}.{leaf}") or better) if better and better != parent else None
    close = _closest(leaf, _names(found.submodule_search_locations), cutoff=0.6)
    return f"{parent}.{close}" if close else None


def module_of(path: str) -> str | None:
    """The name by which a file or folder below the current folder is imported: "./shop/tasks.py" is "shop.tasks"."""
    there = Path(path)
    if there.is_absolute():
        if not there.is_relative_to(Path.cwd()):
            return None
        there = there.relative_to(Path.cwd())
    parts = there.with_suffix("").parts
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def app_in_source(module: str) -> str | None:
    """The name that a module seems to give its App, by its source."""
    found = find(module)
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return None
    try:
        source = Path(found.origin).read_bytes()[:_MAX_SOURCE].decode("utf-8", "replace")
    except OSError:
        return None
    first = _APP.search(source)
    return first[1] if first else None


def any_app() -> str | None:
    """The first App that the modules in the current folder seem to hold: "hello:app"."""
    for module in sorted(_names([str(Path.cwd())])):
        app = app_in_source(module)
        if app:
            return f"{module}:{app}"
    return None


def find(module: str) -> ModuleSpec | None:
    """Where a module would be imported from. Unlike importlib's `find_spec`, it imports no parent package."""
    found, folders = None, [str(Path.cwd()), *sys.path]
    for part in module.split("."):
        found = PathFinder.find_spec(part, folders) if part else None
        if found is None:
            return None
        folders = found.submodule_search_locations or []
    return found


def _names(folders: Iterable[str]) -> set[str]:
    return {module.name for module in pkgutil.iter_modules(list(folders))}


def _closest(name: str, names: set[str], *, cutoff: float) -> str | None:
    return next(iter(get_close_matches(name, sorted(names), n=1, cutoff=cutoff)), None)
