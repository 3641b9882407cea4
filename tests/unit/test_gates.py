"""What the package's own source may not hold: ways from bytes to code, and commands that walk through a server."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiotq.store import scripts
from tools.script_sums import sums

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "aiotq").rglob("*.py"))
LUA = ROOT / "aiotq/store/lua"
SUMS = Path(__file__).parent / "script_sums.txt"

REVIVES = {
    "pickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "yaml",
    "runpy",
    "code",
    "pydoc",
}
RUNS = {"eval", "exec", "compile", "__import__"}
# Who may make code or a module of a name, and of whose. Nothing of it comes from Redis.
ALLOWED = {
    ("aiotq/annotations.py", "compile"): "the text of an annotation in the user's own source: only its names are read",
    ("aiotq/cli/main.py", "import_module"): "the module of a command, from a table in the code",
    ("aiotq/cli/resolve.py", "import_module"): "what the command line names",
    ("aiotq/worker/child.py", "import_module"): "the module of a task in the worker's registry, from a decorator",
}
WALKS = {"KEYS", "SCAN", "ZSCAN", "PSUBSCRIBE", "MONITOR", "FLUSHALL", "FLUSHDB", "EVAL", "FCALL"}
BOUNDED = {("aiotq/store/reading.py", "ZSCAN")}  # of a schedule of 20,000 jobs at most, 1,000 at once


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Of the whole package, each with its file."""
    trees = ((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in SOURCES)
    return [(path, node) for path, tree in trees for node in ast.walk(tree)]


def called(node: ast.AST) -> str:
    """The name of what a call calls, without what stands before its last dot."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def offences(tree: ast.AST) -> Iterator[str]:
    """Ways from bytes or names to code, in one node."""
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names if alias.name.partition(".")[0] in REVIVES)
    elif isinstance(tree, ast.ImportFrom) and (tree.module or "").partition(".")[0] in REVIVES:
        yield tree.module or ""
    elif isinstance(tree, ast.Call):
        name = called(tree)
        plain = isinstance(tree.func, ast.Name)  # re.compile is another thing
        if (plain and name in RUNS) or name in {"import_module", "exec_module", "load_module", "resolve_name"}:
            yield name


def test_nothing_makes_code_of_bytes_or_a_module_of_a_name_but_for_what_a_user_wrote() -> None:
    found = {(path, offence) for path, node in nodes() for offence in offences(node)}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "import os, marshal",
        "eval('1')",
        "__import__('os')",
        "x.import_module(n)",
    ],
)
def test_the_gate_sees(source: str) -> None:
    assert any(offence for node in ast.walk(ast.parse(source)) for offence in offences(node))


def test_ruffs_rules_on_security_hold_for_the_package() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    assert [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)] == ["S101"]  # assert
    package = [rules for path, rules in lint["per-file-ignores"].items() if path.startswith("aiotq")]
    assert not [rule for rules in package for rule in rules if re.fullmatch(r"S\d*", rule)]


# --- what is said to the server ---------------------------------------------------------------------------------------


def test_no_command_walks_through_the_server_or_runs_a_text() -> None:
    words = {
        (path, node.value.upper())
        for path, node in nodes()
        if path.startswith("aiotq/store/") and isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {(path, word) for path, word in words if word in WALKS} == BOUNDED
    for script in LUA.glob("*.lua"):
        for word in WALKS | {"LOADSTRING"}:
            assert f"'{word}'" not in script.read_text("utf-8").upper(), f"{script.name} has {word}"


def test_every_script_is_a_file_of_the_package_as_it_is() -> None:
    shared = (LUA / "lib.lua").read_text("utf-8")
    for script in scripts.ALL:
        assert script.text == shared + (LUA / f"{script.name}.lua").read_text("utf-8")
    assert {script.name for script in scripts.ALL} | {"lib"} == {path.stem for path in LUA.glob("*.lua")}


def test_no_text_put_together_from_values_reaches_the_server_as_a_script() -> None:
    loads: list[str] = []
    for path, node in nodes():
        if isinstance(node, ast.Call) and called(node) == "Script":
            assert all(isinstance(arg, ast.Constant) for arg in node.args), f"{path}:{node.lineno}"
        if isinstance(node, ast.Tuple) and ast.unparse(node).startswith(("('SCRIPT'", "('EVALSHA'")):
            loads.append(ast.unparse(node))
    assert [load.split(",")[:3] for load in sorted(loads)] == [
        ["('EVALSHA'", " script.sha", " 1"],
        ["('EVALSHA'", " scripts.VET.sha", " 1"],
        ["('SCRIPT'", " 'EXISTS'", " *(script.sha for script in scripts.OTHERS))"],
        ["('SCRIPT'", " 'LOAD'", " script.text)"],
        ["('SCRIPT'", " 'LOAD'", " scripts.VET.text)"],
    ]


def test_the_scripts_are_those_that_were_looked_at() -> None:
    assert sums() == SUMS.read_text("utf-8"), (
        "the Lua scripts are not those whose sums are pinned; look at what has changed in aiotq/store/lua, "
        "then pin them anew: python -m tools.script_sums > tests/unit/script_sums.txt"
    )
