"""What callers of the store know and send: jobs, a worker's belief of what it holds, and its outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq.job import FRONT, GENERATION_CHARS, LARGE, parse_ticket, ticket
from aiotq.store.contract import Ended, NewJob, Postponed, PutBack, Replacement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.contract import Finished
    from aiotq.store.tallies import Tally

DAY_MS = 86_400_000
QUEUES = ("a", "b", "poller")  # the last one is also the name of a key
PLACES = ("0", "5", "9", "a", "f")  # a and f: to the front of 0 and 5
DELAYS_MS = (0, 1_000, 5_000)


class Stamps:
    """New generations, one after the other."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, *, large: bool = False) -> str:
        """Four characters that were never given before."""
        self._count += 1
        digits = [GENERATION_CHARS[self._count >> shift & 63] for shift in (12, 6, 0)]
        return (LARGE if large else "A") + "".join(digits)


def new_job(
    job_id: str,
    line: str,
    generation: str,
    *,
    delay_ms: int | None = None,
    due_ms: int | None = None,
    max_len: int | None = None,
) -> NewJob:
    """A job on its way in. A scheduled one has no `max_len`."""
    return NewJob(
        job_id=job_id,
        line=line,
        generation=generation,
        head=b"1w" + generation.encode(),
        body=b'{"t":"x"}',
        delay_ms=delay_ms,
        due_ms=due_ms,
        max_len=max_len if delay_ms is due_ms is None else None,
    )


def record(state: str, generation: str, *, at_ms: int = 0) -> bytes:
    """A record as its owner writes it."""
    return f"1{state}{generation}{at_ms:013d}{{}}".encode()


def own_lines(line: str) -> tuple[str, ...]:
    """The lines that a ticket of this job may name."""
    queue, place = line.split(":")
    digit = str(FRONT.index(place)) if place in FRONT else place
    return (f"{queue}:{digit}", f"{queue}:{FRONT[int(digit)]}", f"{queue}:s")


def outcome(kind: str, text: str, stamps: Stamps, delay_ms: int) -> Finished:
    """What an attempt came to. kind: "succeeded", "died", "retried" or "returned"."""
    held = parse_ticket(text)
    if kind == "succeeded":
        return Ended(ticket=text, record=record("s", held.generation), ttl_ms=DAY_MS)
    if kind == "died":
        return Ended(ticket=text, record=record("f", held.generation), ttl_ms=DAY_MS, dead=True)
    generation = stamps.new(large=held.generation.startswith(LARGE))
    new_ticket = ticket(held.line, generation, held.job_id)
    if kind == "returned":
        return PutBack(ticket=text, new_ticket=new_ticket)
    return Postponed(ticket=text, record=record("w", generation), new_ticket=new_ticket, delay_ms=delay_ms)


def replacement(
    kind: str, job_id: str, read: tuple[str, str], lines: Sequence[str], stamps: Stamps, *, suspect: bool
) -> Replacement:
    """What a person wants. kind: "cancel", "again", "later" or "requeue"; read: state and generation."""
    generation = stamps.new()
    wanted = {"job_id": job_id, "state": read[0], "generation": read[1], "lines": lines, "new_generation": generation}
    if kind == "cancel":
        return Replacement(**wanted, record=record("c", generation), ttl_ms=DAY_MS)
    line = lines[2] if suspect and kind != "requeue" else lines[0]
    delay_ms = 5_000 if kind == "later" else None
    return Replacement(
        **wanted, record=record("w", generation), line=line, delay_ms=delay_ms, forgets=kind == "requeue"
    )


@dataclass(slots=True)
class Hand:
    """A worker, as it sees itself."""

    worker_id: str
    queues: tuple[str, ...]
    held: set[str] = field(default_factory=set)
    unanswered: list[Finished] = field(default_factory=list)  # outcomes whose exchange got no reply
    doubt: bool = False
    told: int = 0  # the number of its last tally that was answered
    untold: Tally | None = None  # one that was not

    @property
    def may_take_suspect(self) -> bool:
        return not any(parse_ticket(text).suspect for text in self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An exchange as it was sent."""

    worker_id: str
    finished: Sequence[Finished]
    queues: Sequence[str]
    limit: int
    suspects: bool
    held: Sequence[str] | None
