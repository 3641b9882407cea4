"""What aiotq wants to reach, and what became of it in a run: each goal is read from that run's own figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.catalogue import OURS
from benchmarks.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One goal beside what was measured."""

    figure: str
    goal: str
    measured: str
    met: bool | None  # None: this run has not measured it

    @property
    def word(self) -> str:
        return "–" if self.met is None else "met" if self.met else "**not met**"


Sense = Literal["<=", ">=", "<", ">"]


def meets(value: float, sense: Sense, limit: float) -> bool:
    """Whether it is on the right side."""
    match sense:
        case "<=":
            return value <= limit
        case ">=":
            return value >= limit
        case "<":
            return value < limit
        case ">":
            return value > limit


def verdicts(results: Results) -> list[Verdict]:
    """All goals, in the order of DESIGN's figures."""
    return [
        _times_fastest(results, "drain", 20, "asyncio", "stretch 30 ×"),
        _times_fastest(results, "drain", 10, "any"),
        _per_ping(results, "drain", 5),
        _per_ping(results, "enqueue_one", 0.7),
        _times_fastest(results, "enqueue_one", 1, "asyncio"),
        _times_fastest(results, "enqueue_callers", 8, "any"),
        _per_ping(results, "enqueue_bulk", 12),
        _below_every(results, "latency_p50"),
        _plain(results, "latency_p99", "<", 3),
        _roundtrip(results),
        _plain(results, "delayed_p50", "<", 1.5),
        _plain(results, "delayed_p99", "<", 5),
        _plain(results, "burst_last_s", "<=", 0.5),
        _plain(results, "queued_10", "<=", 270),
        _plain(results, "queued_200", "<=", 480),
        _plain(results, "idle_sent", "<=", 2),
        _plain(results, "idle_all", "<=", 8),
        _plain(results, "idle_connections", "<=", 6),
        _plain(results, "idle_mib", "<=", 60),
        _plain(results, "cpu_us", "<=", 12),
        _plain(results, "script_ms", "<=", 5),
        _flat(results),
        _two_processes(results),
        _plain(results, "import_s", "<=", 0.15),
    ]


def fastest(results: Results, figure: str, kind: str) -> tuple[str, float] | None:
    """Of the peers of that kind ("asyncio" or "any"), the best median."""
    found = {
        peer: results.figures[peer, figure].median
        for peer, told in results.peers.items()
        if not peer.startswith(OURS) and kind in {"any", told["at"]} and (peer, figure) in results.figures
    }
    if not found:
        return None
    best = (max if FIGURES[figure].more else min)(found, key=lambda peer: found[peer])
    return best, found[best]


def _times_fastest(results: Results, figure: str, times: float, kind: str, note: str = "") -> Verdict:
    named = "the fastest asyncio peer" if kind == "asyncio" else "the fastest peer of any kind"
    goal = f"≥ {times:g} × {named}" if times != 1 else "above every asyncio peer"
    goal += f" ({note})" if note else ""
    ours, other = results.get(OURS, figure), fastest(results, figure, kind)
    if ours is None or other is None:
        return _not_measured(figure, goal)
    ratio = ours.median / other[1]
    by_ping = ours.per_ping / results.figures[other[0], figure].per_ping  # tells when the machine was not the same
    shown = f"{ratio:.1f} × {other[0]} ({ours.median:,.0f} beside {other[1]:,.0f}; for each PING {by_ping:.1f} ×)"
    return Verdict(figure=FIGURES[figure].title, goal=goal, measured=shown, met=ratio >= times)


def _below_every(results: Results, figure: str) -> Verdict:
    goal = "below every asyncio peer's"
    ours, other = results.get(OURS, figure), fastest(results, figure, "asyncio")
    if ours is None or other is None:
        return _not_measured(figure, goal)
    shown = f"{ours.median:.2f} ms beside {other[0]}'s {other[1]:.2f} ms"
    return Verdict(figure=FIGURES[figure].title, goal=goal, measured=shown, met=ours.median < other[1])


def _per_ping(results: Results, figure: str, least: float) -> Verdict:
    goal = f"≥ {least:g} for each PING of bare redis-py"
    ours = results.get(OURS, figure)
    if ours is None:
        return _not_measured(figure, goal)
    shown = f"{ours.per_ping:.2f} ({ours.ping_s:,.0f} PING/s)"
    return Verdict(figure=FIGURES[figure].title, goal=goal, measured=shown, met=ours.per_ping >= least)


def _plain(results: Results, figure: str, sense: Sense, limit: float) -> Verdict:
    unit = FIGURES[figure].unit
    goal = f"{ {'<=': '≤', '>=': '≥'}.get(sense, sense) } {limit:g} {unit}".rstrip()
    ours = results.get(OURS, figure)
    if ours is None:
        return _not_measured(figure, goal)
    shown = f"{ours.median:,.3g} {unit}" if ours.median < 100 else f"{ours.median:,.0f} {unit}"
    return Verdict(
        figure=FIGURES[figure].title, goal=goal, measured=shown.rstrip(), met=meets(ours.median, sense, limit)
    )


def _roundtrip(results: Results) -> Verdict:
    goal = "< 3 × a PING's round trip + 1 ms"
    ours = results.get(OURS, "roundtrip_p50")
    if ours is None:
        return _not_measured("roundtrip_p50", goal)
    limit_ms = 3_000 / ours.ping_s + 1
    shown = f"{ours.median:.2f} ms (limit {limit_ms:.2f} ms)"
    return Verdict(figure=FIGURES["roundtrip_p50"].title, goal=goal, measured=shown, met=ours.median < limit_ms)


def _flat(results: Results) -> Verdict:
    points = results.growth.get(("jobs queued", "drain, jobs/s"), {})
    goal = "within 10 % from 20,000 to 1,000,000 queued"
    small, large = points.get("20000"), points.get("1000000")
    if small is None or large is None:
        return Verdict(figure="drain as the queue grows", goal=goal, measured="not measured", met=None)
    # Beside the PINGs of its own minute: filling a queue of a million takes a while, and machines change meanwhile.
    change = large.per_ping / small.per_ping - 1
    shown = f"{change:+.0%} for each PING ({small.median:,.0f} and {large.median:,.0f} jobs/s)"
    return Verdict(figure="drain as the queue grows", goal=goal, measured=shown, met=change >= -0.1)


def _two_processes(results: Results) -> Verdict:
    points = results.growth.get(("worker processes", "drain, jobs/s"), {})
    goal = "≥ 1.25 × one, on two cores shared with Redis"
    one, two = points.get("1"), points.get("2")
    if one is None or two is None:
        return Verdict(figure="two worker processes", goal=goal, measured="not measured", met=None)
    ratio = two.median / one.median
    shown = f"{ratio:.2f} × ({one.median:,.0f} and {two.median:,.0f} jobs/s)"
    return Verdict(figure="two worker processes", goal=goal, measured=shown, met=ratio >= 1.25)


def _not_measured(figure: str, goal: str) -> Verdict:
    return Verdict(figure=FIGURES[figure].title, goal=goal, measured="not measured", met=None)


def lines(results: Results) -> Iterator[str]:
    """As Markdown."""
    yield "| figure | goal | measured | |"
    yield "| --- | --- | --- | --- |"
    for verdict in verdicts(results):
        yield f"| {verdict.figure} | {verdict.goal} | {verdict.measured} | {verdict.word} |"
