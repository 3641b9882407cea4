"""The quick benchmark of CI: is aiotq still as fast, beside bare redis-py, as the ratios on record say?

Each ratio is aiotq's rate to the PINGs a second right before and after it; up to five turns, each of all figures, and
the best ratio of each counts: once all are met, no turn could undo that. It fails below half of the ratio on record.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from benchmarks.catalogue import HERE, OURS, UsageError, catalogue
from benchmarks.limits import ping_s
from benchmarks.notes import Notes
from benchmarks.processes import Started
from benchmarks.server import redis_server
from benchmarks.stage import Place, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BASELINE = HERE / "baseline.json"
TURNS = 5
PINGS = 400
LEAST = 0.5  # of the ratio on record
DRAINED = 20_000
LIMIT_S = 60


def _asked(verb: str, jobs: int) -> Callable[[Stage], float]:
    return lambda stage: stage.driver.ask(verb, jobs=jobs, within_s=LIMIT_S)


def _drain(stage: Stage) -> float:
    stage.driver.ask("fill", task="noop", jobs=DRAINED, within_s=LIMIT_S)
    with stage.workers() as groups:
        stage.until(DRAINED, LIMIT_S, groups)
    return (DRAINED - 1) / stage.notes.span_s(DRAINED)


FIGURES: dict[str, Callable[[Stage], float]] = {
    "enqueue, one caller": _asked("one", 400),
    "enqueue, 100 callers": _asked("callers", 8_000),
    "enqueue in bulk": _asked("bulk", 8_000),
    "drain": _drain,
}


def measure(met: Callable[[Mapping[str, float]], bool] = lambda _: False) -> dict[str, float]:
    """The best ratio of each figure, after all turns or once they are `met`. Raises NoServer, Failed."""
    best = dict.fromkeys(FIGURES, 0.0)
    with redis_server() as url, tempfile.TemporaryDirectory(prefix="bench-") as folder, Started() as started:
        notes = Notes(Path(folder) / "notes")
        place = Place(url=url, redis=Redis.from_url(url), notes=notes, folder=Path(folder), started=started, scale=1)
        with Stage(place, catalogue()[OURS]) as stage:
            stage.open()
            for turn in range(1, TURNS + 1):
                before = ping_s(url, PINGS)
                for name, figure in FIGURES.items():
                    stage.fresh()
                    value = figure(stage)
                    after = ping_s(url, PINGS)
                    found = 2 * value / (before + after)
                    best[name] = max(best[name], found)
                    print(
                        f"  {turn} {name}: {value:,.0f} a second, {found:.2f} for each PING",
                        file=sys.stderr,
                        flush=True,
                    )
                    before = after
                if met(best):
                    break
    return best


def record(path: Path = BASELINE) -> dict[str, float]:
    """The ratios on record. Raises UsageError."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: float(found[name]) for name in FIGURES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"no ratios on record in {path.name} ({error!r}); python -m benchmarks gate --record"
        ) from error


def judged(best: Mapping[str, float], recorded: Mapping[str, float]) -> tuple[list[str], bool]:
    """A line a figure, and whether all are met."""
    lines: list[str] = []
    for name, on_record in recorded.items():
        least = on_record * LEAST
        word = "ok" if best[name] >= least else f"TOO SLOW: at least {least:.2f} was expected"
        lines.append(f"{name:<22} {best[name]:6.2f} for each PING, {on_record:.2f} on record  {word}")
    return lines, all(best[name] >= on_record * LEAST for name, on_record in recorded.items())


def gate(*, keep: bool, path: Path = BASELINE) -> int:
    """Exit code 0, or 1 if a figure is below half of its record. keep: rewrite the record instead."""
    recorded: dict[str, Any] = {} if keep else record(path)
    best = measure() if keep else measure(lambda best: judged(best, recorded)[1])
    if keep:
        path.write_text(json.dumps({name: round(value, 2) for name, value in best.items()}, indent=2) + "\n", "utf-8")
        print(f"recorded in {path.name}: " + ", ".join(f"{name} {value:.2f}" for name, value in best.items()))
        return 0
    lines, met = judged(best, recorded)
    print("\n".join(lines))
    if not met:
        print(
            "slower than half of what is on record: profile it, or, if a feature is worth it, run "
            "python -m benchmarks gate --record and say so in CHANGELOG.md"
        )
    return 0 if met else 1
