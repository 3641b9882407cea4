"""Two result files beside each other: two commits, two Redis versions, two machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES
from benchmarks.table import cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results, Sum


def verdict(first: Sum, second: Sum, *, more: bool) -> str:
    """Whether they differ by more than their spread: each value of one on the same side of each value of the other."""
    if len(first.values) < 2 or len(second.values) < 2:
        return "one value only"
    if first.low <= second.high and second.low <= first.high:
        return "within the spread"
    return "better" if (second.median > first.median) == more else "worse"


def ratio(first: float, second: float) -> str:
    """The second in terms of the first."""
    return f"{second / first:.2f} ×" if first else "–"


def comparison(first: Results, second: Results) -> str:
    """As Markdown: what both have. A rate's ratio is also given for each PING, since machines differ."""
    return "\n".join(_lines(first, second))


def _lines(first: Results, second: Results) -> Iterator[str]:
    for letter, results in (("A", first), ("B", second)):
        run = results.run
        commit = run.get("commit") or "no commit"
        yield f"{letter}: {run.get('at')}, aiotq at {commit}, {run.get('server')}, {run.get('cores')} cores  "
    yield ""
    yield "| peer | figure | A | B | B / A | for each PING | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    both = [key for key in first.figures if key in second.figures]
    order = list(FIGURES)
    for peer, figure in sorted(both, key=lambda key: (key[0] != "aiotq", key[0], order.index(key[1]))):
        facts, one, other = FIGURES[figure], first.figures[peer, figure], second.figures[peer, figure]
        pings = ratio(one.per_ping, other.per_ping) if facts.per_ping else ""
        title = f"{facts.title}, {facts.unit}" if facts.unit else facts.title
        yield (
            f"| {peer} | {title} | {cell(one)} | {cell(other)} | {ratio(one.median, other.median)} | {pings} | "
            f"{verdict(one, other, more=facts.more)} |"
        )
    if not both:
        yield "They have no figure in common."
