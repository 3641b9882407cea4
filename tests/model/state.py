"""What the model holds, and the steps that its verbs share."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq.job import FRONT, parse_ticket, ticket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiotq.store.contract import WorkerCard
    from tests.model.census import Census

TICKET = re.compile(r"[A-Za-z0-9_.-]{1,64}:[0-9a-js]:[A-Za-z0-9_!-][A-Za-z0-9_-]{3}:[A-Za-z0-9_.:-]{1,128}")
HEADER = re.compile(rb"[0-9]([wsfc])(.{4})[0-9]{13}", re.DOTALL)  # version, state, generation, time of enqueuing
POLLER = ":poller"  # the poller's token among the queues' (no queue's name holds a colon)


def home(line: str) -> str:
    """The line a ticket lies in: a letter for the priority says only to which end of it."""
    queue, place = line.split(":")
    return f"{queue}:{FRONT.index(place)}" if place in FRONT else line


def well_formed(text: str) -> bool:
    """Whether it is a ticket: `<queue>:<place>:<generation>:<id>`."""
    return TICKET.fullmatch(text) is not None


def header(record: bytes | None) -> tuple[str, str] | None:
    """A record's state and generation; None if there is none, or it has no header."""
    found = HEADER.match(record or b"")
    return (found[1].decode(), found[2].decode("latin-1")) if found else None


@dataclass(slots=True)
class State:
    """One store."""

    records: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)  # by "mail:5"; an empty one is no line
    schedule: dict[str, int] = field(default_factory=dict)
    active: dict[str, set[str]] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)  # the end of the lease; 0: being reclaimed
    cards: dict[str, WorkerCard] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    cancels: dict[str, str] = field(default_factory=dict)  # ... and who held the job as it was marked
    paused: set[str] = field(default_factory=set)
    dead: dict[str, int] = field(default_factory=dict)  # ids of dead letters
    waste: set[str] = field(default_factory=set)  # garbage tickets that were put aside
    poller: tuple[str, int] | None = None
    fence: int = 0
    ended: list[str] = field(default_factory=list)  # the state and id of what has ended, newest first
    minutes: dict[int, Counter[str]] = field(default_factory=dict)  # what was counted in each
    tallied: set[tuple[str, int]] = field(default_factory=set)  # workers' tallies that were counted, by their number
    pushed: list[str] = field(default_factory=list)  # by the last verb, into lines
    woken: set[str] = field(default_factory=set)  # by the last verb, for another reason
    may_wake: set[str] = field(default_factory=set)

    # --- tokens

    def _begin(self) -> None:
        self.pushed, self.woken, self.may_wake = [], set(), set()

    @property
    def must_wake(self) -> set[str]:
        """The queues that need a token now, since something that may be claimed came, or was left, in their lines."""
        waiting = {text for held in self.lines.values() for text in held}
        queues = {parse_ticket(text).queue for text in self.pushed if text in waiting}
        return (queues | self.woken) - self.paused

    @property
    def can_wake(self) -> set[str]:
        """The queues that the last verb may have left a token on."""
        return {parse_ticket(text).queue for text in self.pushed} | self.woken | self.may_wake

    # --- what is counted, and remembered

    def _count(self, name: str, now_ms: int, number: int = 1) -> None:
        self.minutes.setdefault(now_ms // 60_000, Counter())[name] += number

    def _remember(self, record: bytes, job_id: str) -> None:
        self.ended.insert(0, chr(record[1]) + job_id)

    # --- tickets

    def _push(self, text: str) -> None:
        line = parse_ticket(text).line
        waiting = self.lines.setdefault(home(line), [])
        if line == home(line):
            waiting.append(text)
        else:
            waiting.insert(0, text)
        self.pushed.append(text)

    def _claimable(self, queue: str, *, suspects: bool) -> bool:
        lines = [line for line in self.lines if line.split(":")[0] == queue]
        return queue not in self.paused and any(suspects or not line.endswith(":s") for line in lines)

    def _schedule(self, text: str, due_ms: int) -> None:
        if not self.schedule or due_ms < min(self.schedule.values()):
            self.woken.add(POLLER)
        self.schedule[text] = due_ms

    def _holder(self, tickets: Iterable[str]) -> str | None:
        wanted = set(tickets)
        return next((name for name, hands in self.active.items() if wanted & hands), None)

    def forget(self, job_id: str) -> None:
        self.lost.pop(job_id, None)
        self.cancels.pop(job_id, None)

    def _lose(self, text: str) -> str:
        """The ticket of a job whose worker vanished, as it comes back."""
        parsed = parse_ticket(text)
        times = self.lost[parsed.job_id] = self.lost.get(parsed.job_id, 0) + 1
        return ticket(f"{parsed.queue}:s", parsed.generation, parsed.job_id) if times >= 2 else text

    def _to_the_front(self, tickets: set[str], census: Census) -> None:
        """Put a set of tickets to the front of their lines, in the order in which the store did."""
        by_line: dict[str, set[str]] = {}
        for text in tickets:
            by_line.setdefault(home(parse_ticket(text).line), set()).add(text)
            self.pushed.append(text)
        for line, group in by_line.items():
            front = list(census.lines.get(line, ()))[: len(group)]
            assert set(front) == group, f"{line} begins with {front}, not with the tickets that came back: {group}"
            self.lines[line] = front + self.lines.get(line, [])

    def _remove_worker(self, worker: str) -> None:
        self.workers.pop(worker, None)
        self.cards.pop(worker, None)

    def _promote(self, limit: int, now_ms: int) -> tuple[int, list[str]]:
        due = sorted((due_ms, text) for text, due_ms in self.schedule.items() if due_ms <= now_ms)[:limit]
        garbage: list[str] = []
        for _, text in due:
            del self.schedule[text]
            if well_formed(text):
                self._push(text)
            else:
                self.waste.add(text)
                garbage.append("schedule")
        return len(due), garbage

    def _next_due_us(self, now_ms: int) -> int | None:
        return (min(self.schedule.values()) - now_ms) * 1_000 if self.schedule else None
