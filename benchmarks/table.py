"""A result file as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES

if TYPE_CHECKING:
    from benchmarks.results import Results, Sum


def number(value: float) -> str:
    """Three digits that say something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cell(found: Sum | None) -> str:
    """The median, and the spread."""
    if found is None:
        return "–"
    if len(found.values) == 1 or number(found.low) == number(found.high):
        return number(found.median)
    return f"{number(found.median)} ({number(found.low)} – {number(found.high)})"


def report(results: Results) -> str:
    """All of it."""
    peers = list(results.peers)
    lines = ["| | " + " | ".join(peers) + " |", "| --- |" + " ---: |" * len(peers)]
    for name, figure in FIGURES.items():
        found = [results.get(peer, name) for peer in peers]
        if any(found):
            unit = f", {figure.unit}" if figure.unit else ""
            lines.append(f"| {figure.title}{unit} | " + " | ".join(cell(one) for one in found) + " |")
    return "\n".join(lines)
