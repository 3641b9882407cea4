"""What a chaos run may blame a repeat, a loss or a lost lease on: each fault, for the while that it lasts.

An attempt that started twice needs a lapse of the worker that had started it, between the two starts and while that
worker still had the job: so no job runs again more often than something was done to its workers. A job that is gone
needs a loss of the server's data, in the while in which it was acknowledged.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.process.ledger import Entry

UNSTORED_S = 1.0  # an outcome is stored so soon after its end, where nothing is in its way
RECOVERS_S = 1.5  # ... and after something was: a pause between two tries, and a machine that is busy
TOLD_WITHIN_S = 3.0  # a worker learns so soon that its lease is lost, once it can
FOR_EVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A while, by the monotonic clock."""

    from_s: float
    until_s: float

    def meets(self, from_s: float, until_s: float) -> bool:
        """Whether both have a moment in common."""
        return self.from_s <= until_s and self.until_s >= from_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse(Span):
    """Meanwhile a worker may lose its lease, and with it what had not ended, or not been stored."""

    unstored_s: float  # what ended after this may not have been stored by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Span):
    """What was acknowledged meanwhile may be gone from the server, and what ran may run again."""

    spares_durable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of the ledger, in the light of the faults."""

    may_repeat: Mapping[str, int]  # how often
    repeats: int  # starts beyond the first ones, that have a cause
    in_hand: int  # the most that there may be: all that the workers held as they lapsed
    uncaused: Sequence[str]


@dataclass(kw_only=True)
class Causes:
    """What was done, when, and to whom."""

    lapses: dict[int, list[Span]] = field(default_factory=lambda: defaultdict(list))  # by pid
    stops: dict[int, list[Span]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by pid: from its signal to its end
    grace_s: float = 0.0  # of every worker
    lease_s: float = 0.0
    losses: list[Loss] = field(default_factory=list[Loss])
    dark: list[tuple[int | None, Span]] = field(default_factory=list)  # no outcome could be stored; None: of nobody

    def lapse(self, pid: int, from_s: float, until_s: float = FOR_EVER) -> None:
        """Something was done to a worker that may cost its lease."""
        self.lapses[pid].append(Span(from_s=from_s, until_s=until_s))

    def stopped(self, pid: int, at_s: float, *, gone_s: float) -> None:
        """A worker was told to stop, gently: only what outlived its grace goes back, unless it reached no store."""
        self.stops[pid].append(Span(from_s=at_s, until_s=gone_s))

    def darkness(self, pid: int | None, from_s: float, until_s: float) -> None:
        """A worker, or everybody (None), could reach no store."""
        self.dark.append((pid, Span(from_s=from_s, until_s=until_s)))

    def loss(self, from_s: float, until_s: float, *, spares_durable: bool = False) -> None:
        """The server has forgotten what was written in that while."""
        self.losses.append(Loss(from_s=from_s, until_s=until_s, spares_durable=spares_durable))

    def of(self, pid: int) -> Sequence[Lapse]:
        """Each while in which a worker may have lost what it held."""
        found = [
            Lapse(
                from_s=span.from_s,
                until_s=self._reaches_none_until(pid, span.until_s),
                unstored_s=self._unstored_since(pid, span.from_s),
            )
            for span in self.lapses.get(pid, ())
        ]
        for span in self.stops.get(pid, ()):
            if any(
                who in (None, pid) and dark.meets(span.from_s - UNSTORED_S, span.until_s) for who, dark in self.dark
            ):
                unstored_s = self._unstored_since(pid, span.until_s)
                found.append(Lapse(from_s=span.from_s, until_s=FOR_EVER, unstored_s=min(span.from_s, unstored_s)))
            else:
                over_s = span.from_s + self.grace_s
                found.append(Lapse(from_s=over_s, until_s=FOR_EVER, unstored_s=over_s))
        return found

    def _reaches_none_until(self, pid: int, until_s: float) -> float:
        """With a part of its lease gone, what keeps it from its store next may take the rest."""
        for who, span in sorted(self.dark, key=lambda one: one[1].from_s):
            if who in (None, pid) and span.from_s <= until_s + RECOVERS_S and span.until_s + self.lease_s > until_s:
                until_s = span.until_s + self.lease_s
        return until_s

    def _unstored_since(self, pid: int, at_s: float) -> float:
        """What ended after that may not have been stored by `at_s`."""
        since_s = at_s - UNSTORED_S
        for who, span in sorted(self.dark, key=lambda one: -one[1].until_s):
            if who in (None, pid) and span.from_s <= at_s and span.until_s + RECOVERS_S >= since_s:
                since_s = min(since_s, span.from_s - UNSTORED_S)
        return since_s

    def lost_in(self, at_s: float, *, durable: bool = False) -> bool:
        """Whether what was acknowledged then may be gone."""
        return any(span.meets(at_s, at_s) and not (durable and span.spares_durable) for span in self.losses)

    def touched(self, entries: Sequence[Entry]) -> set[str]:
        """Jobs that ran while data were being lost: what is known of them may be older than what was said of them."""
        return {
            entry.job_id
            for entry in entries
            if any(span.meets(entry.at_s - UNSTORED_S, entry.at_s + UNSTORED_S) for span in self.losses)
        }

    def excuses_lost_lease(self, pid: int, at_s: float) -> bool:
        """Whether a worker may have been told then that its lease was lost."""
        spans = (*self.of(pid), *self.losses)
        return any(span.from_s <= at_s <= span.until_s + TOLD_WITHIN_S for span in spans)

    def judge(self, entries: Sequence[Entry]) -> Verdict:
        """Look for the cause of each start beyond an attempt's first."""
        ends: Mapping[tuple[str, int, int], float] = {
            (entry.job_id, entry.attempt, entry.pid): entry.at_s for entry in entries if entry.what == "end"
        }
        last: dict[tuple[str, int], Entry] = {}
        repeated, repeats, uncaused = Counter[str](), 0, list[str]()
        for entry in entries:
            if entry.what != "start":
                continue
            run = entry.job_id, entry.attempt
            before = last.get(run)
            last[run] = entry
            if before is None:
                continue
            end_s = ends.get((*run, before.pid), FOR_EVER)
            if self._caused(before, end_s, entry):
                repeats += 1
                repeated[entry.job_id] += 1
            else:
                uncaused.append(
                    f"attempt {entry.attempt} of {entry.job_id} started in {before.pid} at {before.at_s:.2f} "
                    f"(ended at {end_s:.2f}) and in {entry.pid} at {entry.at_s:.2f}, and nothing had been done to "
                    f"{before.pid} between"
                )
        return Verdict(
            may_repeat=repeated, repeats=repeats, in_hand=sum(self._in_hand(entries).values()), uncaused=uncaused
        )

    def _caused(self, before: Entry, end_s: float, again: Entry) -> bool:
        spans: list[tuple[Span, float]] = [(span, span.unstored_s) for span in self.of(before.pid)]
        spans += [(span, span.from_s - UNSTORED_S) for span in self.losses]
        return any(
            # What is lost is the claim, perhaps, which came a little before the start.
            span.meets(before.at_s - UNSTORED_S * isinstance(span, Loss), again.at_s) and end_s >= since_s
            for span, since_s in spans
        )

    def _in_hand(self, entries: Sequence[Entry]) -> Counter[int]:
        """How many runs each worker held in a while in which it lapsed, or the server lost data."""
        held = Counter[int]()
        lapses = {pid: (*self.of(pid), *self.losses) for pid in {entry.pid for entry in entries}}
        for pid, from_s, until_s in self._runs(entries):
            held[pid] += sum(span.meets(from_s, until_s) for span in lapses[pid])
        return held

    @staticmethod
    def _runs(entries: Sequence[Entry]) -> Iterator[tuple[int, float, float]]:
        open_at: dict[tuple[str, int, int], float] = {}
        for entry in entries:
            run = entry.job_id, entry.attempt, entry.pid
            if entry.what == "start":
                open_at[run] = entry.at_s
            elif run in open_at:
                yield entry.pid, open_at.pop(run), entry.at_s + UNSTORED_S
        for (_, _, pid), at_s in open_at.items():
            yield pid, at_s, FOR_EVER
