"""docs/reliability.md has a row for each fault, and names tests: each of them is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tools.again import PAGE, named

ROOT = Path(__file__).parent.parent.parent
TABLE = PAGE.read_text("utf-8").partition("| row | promise | tests | measured")[2].partition("\n\n")[0].splitlines()[2:]
# The faults by their numbers; 17, 19, 21, 31 and 41 are none, and the dashboard of 44 is not there yet.
NUMBERS = {*range(1, 17), 18, 20, *range(22, 31), *range(32, 41), 42, 43}


@cache
def functions(file: str) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "test"), named())
def test_a_test_that_the_page_names_is_there(file: str, test: str):
    assert not test or test in functions(file)


def test_every_fault_has_a_row_with_a_promise_a_test_a_figure_and_a_word_on_peers():
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in TABLE]
    assert {len(row) for row in rows} == {5}
    assert all("`tests/" in row[2] for row in rows)
    assert all(cell for row in rows for cell in row)
    numbers: set[int] = set()
    names = [name for row in rows for name in row[0].split(", ")]  # "3, 4", "27–29", "clock"
    for first, last in re.findall(r"^(\d+)(?:–(\d+))?$", "\n".join(names), re.MULTILINE):
        numbers |= set(range(int(first), int(last or first) + 1))
    assert numbers == NUMBERS


def test_the_page_names_tests():
    assert len(named()) > 40
