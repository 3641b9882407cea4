"""docs/guarantees.md names a test for all that it promises, in lists, tables and prose; they exist, is seen here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "guarantees.md").read_text("utf-8")
TEXT = re.split(r"^\[[^\]\n]+\]: ", PAGE, maxsplit=1, flags=re.MULTILINE)[0]
LINKS = dict(re.findall(r"^\[([^\]\n]+)\]: (\S+)$", PAGE, re.MULTILINE))
PROMISES = [item for item in re.split(r"\n(?=- |\n)", TEXT) if item.startswith("- ")]
# What leads to a list, a table or an example, or says how to measure, by its first words.
PLAIN = ("Each promise ends", "For a job that must", "How long it takes", "A worker that was frozen", "| server |")


def labels(text: str) -> set[str]:
    """The labels that a text refers to."""
    return {" ".join(label.split()) for label in re.findall(r"\[([^\]]+)\](?!\()", text)}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[2:50])
def test_each_promise_names_a_test(promise: str) -> None:
    assert labels(promise) & set(LINKS)


def others() -> list[str]:
    """Rows of tables, and paragraphs that are in no list: no heading, no code."""
    found: list[str] = []
    for block in re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL).split("\n\n"):
        text = block.strip("\n")
        if not text or text.startswith(("#", "- ", "    ", *PLAIN)):
            continue
        found += text.splitlines()[2:] if text.startswith("|") else [text]
    return found


@pytest.mark.parametrize("promise", others(), ids=lambda promise: promise[:50])
def test_each_row_of_a_table_and_each_paragraph_names_a_test(promise: str) -> None:
    assert labels(promise) & set(LINKS)


def test_every_label_is_a_link_and_every_link_is_used() -> None:
    code = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
    assert labels(code.sub("", TEXT)) == set(LINKS)


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_each_link_leads_to_a_test(link: str) -> None:
    path, _, name = link.partition("#")
    tree = ast.parse((DOCS / path).read_text("utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions
    assert name.startswith("test_")


def test_there_are_promises_to_be_checked() -> None:
    assert len(PROMISES) > 30
    assert len(others()) > 15
