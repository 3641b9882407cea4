"""From a result file to `docs/benchmarks/`: the table, and the pictures that README shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.catalogue import HERE
from benchmarks.plots import draw
from benchmarks.table import report

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Results

DOCS = HERE.parent / "docs" / "benchmarks"


def publish(results: Results, folder: Path = DOCS) -> None:
    """Write them all, over the last ones. Raises UsageError without matplotlib."""
    plots = draw(results, folder)
    (folder / "README.md").write_text(report(results, plots), "utf-8")
