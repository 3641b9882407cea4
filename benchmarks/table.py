"""A result file as Markdown: made by the command, never by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import goals
from benchmarks.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.results import Results, Sum


def number(value: float) -> str:
    """Three digits that say something."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 or value == round(value) else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cell(found: Sum | None) -> str:
    """The median, and in brackets the lowest and the highest."""
    if found is None:
        return "–"
    low, high = number(found.low), number(found.high)
    return number(found.median) if low == high else f"{number(found.median)} ({low} – {high})"


def report(results: Results, plots: Sequence[str] = ()) -> str:
    """All of it. plots: file names of pictures beside the file."""
    parts = [_heading(results), _picture(plots, "peers"), *_peers(results), "\n## Goals\n", *goals.lines(results)]
    parts += [*_growth(results), _picture(plots, "growth"), "\n## The machine's own limits\n", *_limits(results)]
    parts += ["\n## How each was set up\n", *_setups(results), *_trouble(results)]
    return "\n".join(part for part in parts if part) + "\n"


def _picture(plots: Sequence[str], name: str) -> str:
    return "".join(f"\n![{name}]({plot})\n" for plot in plots if plot.startswith(name))


def _heading(results: Results) -> str:
    run = results.run
    ended = "\n\n**This run was interrupted: figures are missing.**" if results.interrupted else ""
    machine = f"{run.get('cores', '?')} cores ({run.get('cpu', '?')}), Python {run.get('python', '?')}"
    return (
        f"# Benchmarks of {run.get('at', 'an unknown time')}\n\n"
        f"{run.get('server', '?')} and everything else on one machine of {machine}; aiotq at "
        f"{run.get('commit') or 'no commit'}; {results.rounds} rounds, peers in random order in each. Each figure is a "
        f"median with, in brackets, the lowest and the highest. Such a machine differs from another, and from itself "
        f"an hour later: only ratios within one run count. Remade by `make bench`. What the protections "
        f"against faults and the inspector cost is in [price.md](price.md).{ended}"
    )


def _peers(results: Results) -> Iterator[str]:
    """Figures down, peers across: those with an asyncio interface, then the others."""
    names = [name for name, told in results.peers.items() if any(peer == name for peer, _ in results.figures)] or list(
        results.peers
    )
    for title, kind in (
        ("Asyncio peers: one process, 100 jobs at once", "asyncio"),
        ("Peers of several processes", "processes"),
    ):
        shown = [name for name in names if results.peers[name]["at"] == kind or name == "aiotq"]
        if shown in ([], ["aiotq"]) and kind == "processes":
            continue
        yield f"\n## {title}\n"
        yield "| | " + " | ".join(_title(results, name) for name in shown) + " |"
        yield "| --- |" + " ---: |" * len(shown)
        for figure, facts in FIGURES.items():
            row = [results.get(name, figure) for name in shown]
            if any(row):
                unit = f", {facts.unit}" if facts.unit else ""
                cells = (_cell(results, name, facts.item, found) for name, found in zip(shown, row, strict=True))
                yield f"| {facts.title}{unit} | " + " | ".join(cells) + " |"
        per_ping = [facts for facts in FIGURES.values() if facts.per_ping]
        for facts in per_ping:
            figure = next(name for name, known in FIGURES.items() if known is facts)
            row = [results.get(name, figure) for name in shown]
            if any(row):
                yield (
                    f"| {facts.title}, for each PING | "
                    + " | ".join("–" if one is None else f"{one.per_ping:.2f}" for one in row)
                    + " |"
                )


def _title(results: Results, name: str) -> str:
    versions = results.peers[name].get("versions") or {}
    return f"{name} {next(iter(versions.values()), '')}".strip()


def _cell(results: Results, peer: str, item: str, found: Sum | None) -> str:
    errors = results.errors.get((peer, item), ()) or results.errors.get((peer, "start"), ())
    if found is None and errors:
        return "fails"
    return cell(found) + (f" (failed {len(errors)} of {len(errors) + len(found.values)})" if errors and found else "")


def _growth(results: Results) -> Iterator[str]:
    curves = dict.fromkeys(curve for curve, _ in results.growth)
    if curves:
        yield "\n## Growth, aiotq alone"
    for curve in curves:
        whats = [what for known, what in results.growth if known == curve]
        points = sorted({int(point) for what in whats for point in results.growth[curve, what]})
        yield f"\n| {curve} | " + " | ".join(f"{point:,}" for point in points) + " |"
        yield "| --- |" + " ---: |" * len(points)
        for what in whats:
            by = results.growth[curve, what]
            yield f"| {what} | " + " | ".join(cell(by.get(str(point))) for point in points) + " |"
    if "worker processes" in curves:
        yield from _processes(results)


def _processes(results: Results) -> Iterator[str]:
    """What limits several processes, from this run's own figures."""
    cpu, cores = results.get("aiotq", "cpu_us"), results.run.get("cores", 0)
    if cpu is not None:
        yield (
            f"\nA job costs Redis about {cpu.median:.1f} µs of CPU for its whole life, so one Redis carries at most "
            f"{1e6 / cpu.median:,.0f} jobs/s, however many work. With {cores} cores for Redis and all of them, "
            f"workers beyond the cores that Redis leaves free add nothing; with a core for each process the rate would "
            f"grow with their number up to Redis's own limit."
        )


def _limits(results: Results) -> Iterator[str]:
    yield "| | a second |"
    yield "| --- | ---: |"
    for name, found in results.limits.items():
        yield f"| {name} | {cell(found)} |"


def _setups(results: Results) -> Iterator[str]:
    for name, told in results.peers.items():
        versions = ", ".join(f"{package} {version}" for package, version in (told.get("versions") or {}).items())
        yield f"- **{name}**: {told.get('setup', '')} ({versions})"
    for name, why in results.absent.items():
        yield f"- **{name}** took no part: {why}"


def _trouble(results: Results) -> Iterator[str]:
    if results.errors:
        yield "\n## What failed\n"
    grouped: dict[tuple[str, str], list[str]] = {}
    for (peer, item), errors in results.errors.items():
        times = f" ({len(errors)} times)" if len(errors) > 1 else ""
        grouped.setdefault((peer, errors[0]), []).append(item + times)
    for (peer, error), items in grouped.items():
        yield f"- **{peer}**, {', '.join(items)}: {error}"
