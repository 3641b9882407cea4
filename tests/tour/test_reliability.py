"""docs/reliability.md names tests: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def named() -> list[tuple[str, str]]:
    """File and test, of each test that the page names. A row may name several of one file, the file once."""
    found: list[tuple[str, str]] = []
    for row in PAGE.splitlines():
        file = ""
        for match in re.finditer(r"`(?:(tests/[a-z_/]+\.py)|(test_\w+))`", row):
            file = match[1] or file
            found.append((file, match[2] or ""))
    return found


@pytest.mark.parametrize(("file", "test"), dict.fromkeys(named()))
def test_a_test_that_the_page_names_is_there(file: str, test: str):
    text = (ROOT / file).read_text("utf-8")
    assert not test or f"def {test}(" in text


def test_the_page_names_tests():
    assert len(named()) > 40
