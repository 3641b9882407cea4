"""Result files: a JSON line for each thing that was seen, written as it is seen, and what they sum up to."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.catalogue import HERE, UsageError
from benchmarks.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RESULTS = HERE / "results"


class Writer:
    """Appends lines to one file; each is on disk once `line` returns, so an interrupted run keeps its figures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def line(self, kind: str, **facts: Any) -> None:
        """One fact."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **facts}, ensure_ascii=False) + "\n")


def new_file(folder: Path = RESULTS) -> Path:
    """A name of this moment that is not taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = folder / f"{stamp}.jsonl"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stamp}-{number}.jsonl"
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Several values of one figure."""

    values: tuple[float, ...]
    pings: tuple[float, ...]  # PINGs a second around each of them

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def per_ping(self) -> float:
        """The median of the ratios to bare redis-py's PINGs in the same minute."""
        return statistics.median(value / ping for value, ping in zip(self.values, self.pings, strict=True))

    @property
    def ping_s(self) -> float:
        return statistics.median(self.pings)


@dataclass(slots=True)
class Results:
    """A result file, read."""

    run: dict[str, Any] = field(default_factory=dict)
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    figures: dict[tuple[str, str], Sum] = field(default_factory=dict)  # (peer, figure)
    growth: dict[tuple[str, str], dict[str, Sum]] = field(default_factory=dict)  # (curve, what): by point
    limits: dict[str, Sum] = field(default_factory=dict)
    errors: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (peer, item)
    rounds: int = 0  # begun
    interrupted: bool = False

    def get(self, peer: str, figure: str) -> Sum | None:
        return self.figures.get((peer, figure))


def summed(pairs: Sequence[tuple[float, float]]) -> Sum:
    """Of (value, PINGs a second)."""
    return Sum(values=tuple(value for value, _ in pairs), pings=tuple(ping for _, ping in pairs))


def read(path: Path) -> Results:
    """Raises UsageError if it is no result file. A last line cut off in mid-write is left out."""
    if not path.is_file():
        known = (
            ", ".join(sorted(file.name for file in path.parent.glob("*.jsonl"))[-5:]) if path.parent.is_dir() else ""
        )
        raise UsageError(
            f"there is no result file {path}; the latest there are: {known or 'none, run the benchmarks first'}"
        )
    reader = _Reader()
    lines = path.read_text("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            fact = json.loads(line)
            getattr(reader, f"_{fact['kind']}", reader.other)(fact)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and number > 1:
                break
            raise UsageError(f"{path} is no result file of these benchmarks (line {number}: {error!r})") from error
    return reader.summed()


class _Reader:
    """Gathers the lines of a file; a method a kind of line."""

    def __init__(self) -> None:
        self.results = Results()
        self.figures: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        self.growth: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.limits: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def other(self, fact: Any) -> None:
        """What a later version may write."""

    def _run(self, fact: Any) -> None:
        self.results.run = fact

    def _peer(self, fact: Any) -> None:
        self.results.peers[fact["peer"]] = fact

    def _absent(self, fact: Any) -> None:
        self.results.absent[fact["peer"]] = fact["why"]

    def _round(self, fact: Any) -> None:
        self.results.rounds = fact["number"]

    def _figure(self, fact: Any) -> None:
        self.figures[fact["peer"], fact["figure"]].append((fact["value"], fact["ping_s"]))

    def _growth(self, fact: Any) -> None:
        self.growth[fact["curve"], fact["what"]][str(fact["point"])].append((fact["value"], fact["ping_s"]))

    def _limit(self, fact: Any) -> None:
        self.limits[fact["name"]].append((fact["value"], 1.0))

    def _error(self, fact: Any) -> None:
        self.results.errors.setdefault((fact["peer"], fact["item"]), []).append(fact["error"])

    def _interrupted(self, _: Any) -> None:
        self.results.interrupted = True

    def summed(self) -> Results:
        """All of it."""
        results = self.results
        results.figures = {key: summed(pairs) for key, pairs in self.figures.items() if key[1] in FIGURES}
        results.growth = {key: {point: summed(pairs) for point, pairs in by.items()} for key, by in self.growth.items()}
        results.limits = {name: summed(pairs) for name, pairs in self.limits.items()}
        return results
