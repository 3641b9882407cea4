"""A result file as pictures: SVG by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.catalogue import OURS, UsageError
from benchmarks.figures import FIGURES
from benchmarks.table import number

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Results

OURS_COLOUR, PEERS_COLOUR = "#2a9d5c", "#8a94a6"
SHOWN = ("drain", "enqueue_callers", "enqueue_one", "latency_p50", "delayed_p50", "commands")


def pyplot() -> Any:
    """matplotlib, drawing to files only. Raises UsageError where it is missing."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  an extra

        mpl.use("svg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("no matplotlib for the plots; pip install -e '.[bench]', or run without --publish") from error
    mpl.rcParams |= {
        "svg.fonttype": "none", "svg.hashsalt": "aiotq", "font.family": "sans-serif", "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    return plt


def draw(results: Results, folder: Path) -> list[str]:
    """The files made, by name."""
    plt = pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    made = [_peers(plt, results, folder)] if results.figures else []
    if results.growth:
        made.append(_growth(plt, results, folder))
    return made


def _peers(plt: Any, results: Results, folder: Path) -> str:
    shown = [figure for figure in SHOWN if any(name == figure for _, name in results.figures)] or [
        next(figure for _, figure in results.figures)
    ]
    rows = (len(shown) + 1) // 2
    drawn, axes = plt.subplots(rows, 2, figsize=(10, 2.9 * rows), squeeze=False, layout="constrained")
    for place, figure in zip(axes.flat, shown, strict=False):
        _bars(place, results, figure)
    for place in list(axes.flat)[len(shown) :]:
        place.set_visible(False)
    return _save(plt, drawn, folder, "peers.svg")


def _bars(place: Any, results: Results, figure: str) -> None:
    """One figure of all peers, the best on top, from zero: a bar twice as long is twice as much."""
    facts = FIGURES[figure]
    found = {peer: results.figures[peer, figure] for peer in results.peers if (peer, figure) in results.figures}
    order = sorted(found, key=lambda peer: found[peer].median, reverse=not facts.more)
    sums = [found[peer] for peer in order]
    spread = [[one.median - one.low for one in sums], [one.high - one.median for one in sums]]
    colours = [OURS_COLOUR if peer.startswith(OURS) else PEERS_COLOUR for peer in order]
    bars = place.barh(
        order,
        [one.median for one in sums],
        xerr=spread,
        color=colours,
        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
    )
    place.bar_label(bars, [number(one.median) for one in sums], padding=6, fontsize=8)
    place.margins(x=0.15)
    place.set_xlim(left=min(0.0, *(one.low for one in sums)))
    place.set_title(facts.title + (f", {facts.unit}" if facts.unit else ""), loc="left")
    place.set_xlabel("more is better" if facts.more else "less is better")


def _growth(plt: Any, results: Results, folder: Path) -> str:
    keys = list(results.growth)
    rows = (len(keys) + 2) // 3
    drawn, axes = plt.subplots(rows, 3, figsize=(11, 2.6 * rows), squeeze=False, layout="constrained")
    for place, key in zip(axes.flat, keys, strict=False):
        by = sorted((int(point), found) for point, found in results.growth[key].items())
        points = [point for point, _ in by]
        place.plot(points, [found.median for _, found in by], "o-", color=OURS_COLOUR, markersize=4)
        place.fill_between(
            points,
            [found.low for _, found in by],
            [found.high for _, found in by],
            color=OURS_COLOUR,
            alpha=0.2,
            linewidth=0,
        )
        place.set_xscale("log")
        place.set_ylim(0, 1.15 * max(found.high for _, found in by))
        place.set_xlabel(key[0])
        place.set_title(key[1], loc="left")
        place.set_xticks(points, [f"{point:,}" for point in points])
        place.minorticks_off()
    for place in list(axes.flat)[len(keys) :]:
        place.set_visible(False)
    return _save(plt, drawn, folder, "growth.svg")


def _save(plt: Any, drawn: Any, folder: Path, name: str) -> str:
    drawn.savefig(folder / name, metadata={"Date": None})
    plt.close(drawn)
    return name
