"""Check the size budgets of STYLE.md: how long a file, a class and a function may be, and how much a constructor takes.

Run from the project's root: `python tools/budgets.py`. Exit code 1 if something is over its budget, or if an exception
in pyproject.toml is no longer needed.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The largest sizes allowed, and who may be larger: "path[:Class[.method]]" and the reason."""

    file_lines: int
    class_lines: int
    function_lines: int
    constructor_arguments: int
    exceptions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun:
    """Something that is larger than its budget."""

    name: str  # as an exception would name it
    line: int
    what: str
    size: int
    budget: int

    def __str__(self) -> str:
        """One line, clickable in an editor."""
        return f"{self.name.partition(':')[0]}:{self.line}: {self.name}: {self.size} {self.what}, at most {self.budget}"


def overruns(path: str, source: str, budgets: Budgets) -> Iterator[Overrun]:
    """All that is over its budget in one file, exceptions included."""
    lines = source.count("\n")
    if lines > budgets.file_lines:
        yield Overrun(name=path, line=1, what="lines", size=lines, budget=budgets.file_lines)
    yield from _inside(ast.parse(source), path, f"{path}:", budgets)


def _inside(parent: ast.AST, path: str, scope: str, budgets: Budgets) -> Iterator[Overrun]:
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.ClassDef():
                name, budget = f"{scope}{node.name}", budgets.class_lines
                if (size := _lines(node)) > budget:
                    yield Overrun(name=name, line=node.lineno, what="lines", size=size, budget=budget)
                yield from _constructor(node, name, budgets.constructor_arguments)
                yield from _inside(node, path, f"{name}.", budgets)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                name, budget = f"{scope}{node.name}", budgets.function_lines
                if (size := _lines(node)) > budget:
                    yield Overrun(name=name, line=node.lineno, what="lines", size=size, budget=budget)
                yield from _inside(node, path, f"{name}.", budgets)
            case _:
                yield from _inside(node, path, scope, budgets)


def _constructor(node: ast.ClassDef, name: str, budget: int) -> Iterator[Overrun]:
    """A constructor's arguments; not those that a public class takes by keyword only, with a default (its options)."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            taken = [*item.args.posonlyargs, *item.args.args][1:]  # without self
            options = 0 if node.name.startswith("_") else sum(default is not None for default in item.args.kw_defaults)
            size = len(taken) + len(item.args.kwonlyargs) - options
            if size > budget:
                name = f"{name}.__init__"
                yield Overrun(name=name, line=item.lineno, what="arguments", size=size, budget=budget)


def _lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def check(root: Path, budgets: Budgets) -> list[str]:
    """The complaints about the package under `root`."""
    found = [
        overrun
        for file in sorted((root / "aiotq").rglob("*.py"))
        for overrun in overruns(file.relative_to(root).as_posix(), file.read_text(encoding="utf-8"), budgets)
    ]
    over = [str(overrun) for overrun in found if overrun.name not in budgets.exceptions]
    names = {overrun.name for overrun in found}
    idle = [f"pyproject.toml: {name} needs no exception any more" for name in budgets.exceptions if name not in names]
    return over + idle


def load(root: Path) -> Budgets:
    """The budgets as pyproject.toml has them."""
    settings: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["aiotq"]
    return Budgets(**settings["budgets"])


def main() -> int:
    """Print the complaints; the exit code."""
    complaints = check(ROOT, load(ROOT))
    print("\n".join(complaints) or "budgets: all kept")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
