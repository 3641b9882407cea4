"""Queues and workers, as they are now."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from aiotq import checks
from aiotq.health import BLOCKED_S
from aiotq.inspection import tallies
from aiotq.inspection.listing import look
from aiotq.inspection.places import Entry, ticket_of
from aiotq.inspection.values import QueueInfo, RunningJob, WorkerInfo
from aiotq.inspection.vitals import number, stands, vitals
from aiotq.job import SUSPECT, JobStatus
from aiotq.shown import instant
from aiotq.store.inspection import MOST_QUEUES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from aiotq.inspection.desk import Desk
    from aiotq.inspection.seen import Seen
    from aiotq.store.inspection import Card, Line

HEADS = 3  # tickets of each line whose records are looked at; the first may be stale
MORE_HEADS = 100  # ... where all of these are
AT_ONCE = 64  # lines, or workers, that are asked for together
MOST_TICKETS = 5_000  # in workers' hands, that are counted one by one
MOST_NAMES = 1_000  # of queues


class House:
    """What is read of all queues and workers at once, for whatever is to be said of them."""

    def __init__(
        self, desk: Desk, *, now_ms: int, names: Sequence[str], cards: Sequence[Card], more: bool = False
    ) -> None:
        """names: of queues. more: whether there may be queues beside these, since there are so many."""
        self.desk, self.now_ms, self.names, self.cards, self.more = desk, now_ms, names, cards, more
        self.heads: list[Seen] = []  # of the lines, as they were seen

    @classmethod
    async def of(cls, desk: Desk, *, queue: str | None = None) -> House:
        """Of one queue, or of all that there are: those that ever had a job, are paused, or have a worker."""
        operator = desk.operator
        now_ms, cards = await operator.now_ms(), await operator.workers()
        if queue is not None:
            return cls(desk, now_ms=now_ms, names=[checks.queue("queue", queue)], cards=cards)
        served = {name for card in cards for name in _queues(card) if checks.QUEUE.fullmatch(name)}
        known = await operator.queue_names()
        names = {*known, *await operator.paused(), *served}
        ours = sorted(name for name in names if checks.QUEUE.fullmatch(name))
        more = len(known) >= MOST_QUEUES or len(ours) > MOST_NAMES
        return cls(desk, now_ms=now_ms, names=ours[:MOST_NAMES], cards=cards, more=more)

    # --- workers

    def workers(self) -> tuple[WorkerInfo, ...]:
        """All of them, by label."""
        return tuple(sorted((_worker(card, self.now_ms) for card in self.cards), key=lambda one: (one.label, one.id)))

    # --- queues

    async def queues(self) -> tuple[QueueInfo, ...]:
        """Those of `names`."""
        operator = self.desk.operator
        lines, paused = await operator.lines(self.names), set(await operator.paused())
        running = await self._running()
        fronts = await self._fronts(lines)
        self.heads += [one for seen in fronts for one in seen]
        oldest = _oldest(lines, fronts)
        rates = await tallies.rates(operator, self.names, now_ms=self.now_ms)
        serving = Counter(name for card in self.cards if is_live(card, self.now_ms) for name in set(_queues(card)))
        standing = Counter(
            name
            for card in self.cards
            if is_live(card, self.now_ms) and stands(vitals(card))
            for name in set(_queues(card))
        )
        stale = _all_stale(lines, fronts)
        by_queue: dict[str, dict[str, int]] = {}
        for line in lines:
            by_queue.setdefault(line.queue, {})[line.place] = line.length
        found: list[QueueInfo] = []
        for name in self.names:
            lengths, oldest_ms = by_queue.get(name, {}), oldest.get(name)
            enqueued, ended = rates[name]
            found.append(
                QueueInfo(
                    name=name,
                    waiting=sum(lengths.values()),
                    by_priority={int(place): length for place, length in lengths.items() if place != SUSPECT},
                    suspects=lengths.get(SUSPECT, 0),
                    running=running.get(name, 0),
                    oldest_age_s=None if oldest_ms is None else max(0, self.now_ms - oldest_ms) / 1000,
                    paused=name in paused,
                    workers=serving[name],
                    enqueued_a_minute=enqueued,
                    ended_a_minute=ended,
                    standing=standing[name],
                    leftovers=stale.get(name, 0),
                )
            )
        return tuple(found)

    async def _running(self) -> Mapping[str, int]:
        """By queue. Of workers with many jobs in all, those that serve several queues are believed what they say."""
        found, exact = Counter[str](), sum(card.held for card in self.cards) <= MOST_TICKETS
        unclear: list[str] = []
        for card in self.cards:
            queues = _queues(card)
            if len(queues) == 1:
                found[queues[0]] += card.held
            elif not exact:
                found.update(job.queue for job in vitals(card).jobs)
            elif card.held:
                unclear.append(card.worker_id)
        for first in range(0, len(unclear), AT_ONCE):
            some = unclear[first : first + AT_ONCE]
            for texts in await asyncio.gather(*(self.desk.operator.held(worker_id) for worker_id in some)):
                found.update(ticket.queue for text in texts if (ticket := ticket_of(text)) is not None)
        return found

    async def _fronts(self, lines: Sequence[Line]) -> Sequence[Sequence[Seen]]:
        """The jobs at the front of each line: of its first tickets, or where these are stale of more of them."""
        found: list[Sequence[Seen]] = []
        for first in range(0, len(lines), AT_ONCE):
            found += await asyncio.gather(*(self._front(line) for line in lines[first : first + AT_ONCE]))
        return found

    async def _front(self, line: Line) -> Sequence[Seen]:
        return await self._look(line, HEADS) or (await self._look(line, MORE_HEADS) if line.length > HEADS else ())

    async def _look(self, line: Line, most: int) -> Sequence[Seen]:
        entries: list[Entry] = []
        for index, text in enumerate(await self.desk.operator.line(line.queue, line.place, 0, most - 1)):
            ticket = ticket_of(text)
            if ticket is not None:
                entries.append(
                    Entry(
                        at=(index,),
                        job_id=ticket.job_id,
                        status=JobStatus.QUEUED,
                        queue=ticket.queue,
                        place=ticket.place,
                        generation=ticket.generation,
                    )
                )
        return list((await look(self.desk, entries, now_ms=self.now_ms)).values())


def _oldest(lines: Sequence[Line], fronts: Sequence[Sequence[Seen]]) -> Mapping[str, int]:
    """By queue, since when the job that waits longest could have been run; of the first of each line."""
    found: dict[str, int] = {}
    for line, seen in zip(lines, fronts, strict=True):
        for one in seen:
            ready_ms = one.ready_ms if one.ready_ms is not None else one.header and one.header[3]
            if ready_ms is not None:
                found[line.queue] = min(ready_ms, found.get(line.queue, ready_ms))
    return found


def _all_stale(lines: Sequence[Line], fronts: Sequence[Sequence[Seen]]) -> Mapping[str, int]:
    """By queue in which no job was seen, but tickets: how many of these were looked at."""
    looked, alive = Counter[str](), set[str]()
    for line, seen in zip(lines, fronts, strict=True):
        looked[line.queue] += min(line.length, MORE_HEADS)
        if seen:
            alive.add(line.queue)
    return {queue: number for queue, number in looked.items() if queue not in alive}


def _queues(card: Card) -> Sequence[str]:
    return [name for name in card.fields.get("queues", "").split(",") if name]


def is_live(card: Card, now_ms: int) -> bool:
    """Whether its lease has not ended."""
    return card.lease_end_ms >= now_ms


def _worker(card: Card, now_ms: int) -> WorkerInfo:
    said, fields = vitals(card), card.fields
    lease_ms = number(fields.get("lease_ms"))
    seen_s = (now_ms - (card.lease_end_ms - lease_ms)) / 1000 if lease_ms and card.lease_end_ms else None
    jobs = sorted(said.jobs, key=lambda job: job.started_ms)
    return WorkerInfo(
        id=card.worker_id,
        label=fields.get("label", card.worker_id),
        host=fields.get("host", ""),
        pid=number(fields.get("pid")),
        queues=tuple(_queues(card)),
        state=_state(card, now_ms, stopping=said.stopping, blocked_s=said.blocked_s),
        started_at=_started(fields),
        last_seen_s=None if seen_s is None else max(0.0, seen_s),
        slots=said.slots,
        used=card.held if said.used is None else said.used,
        stuck=said.stuck,
        memory=said.memory,
        version=said.version,
        blocked_s=said.blocked_s,
        jobs=tuple(
            RunningJob(
                id=job.id,
                task=job.task,
                queue=job.queue,
                attempt=job.attempt,
                started_at=instant(job.started_ms),
                running_s=max(0, now_ms - job.started_ms) / 1000,
            )
            for job in jobs
        ),
    )


def _state(card: Card, now_ms: int, *, stopping: bool, blocked_s: float) -> str:
    if card.lease_end_ms == 0:
        return "gone"
    if not is_live(card, now_ms):
        return "late"
    if stopping:
        return "stopping"
    return "blocked" if blocked_s >= BLOCKED_S else "working"


def _started(fields: Mapping[str, str]) -> datetime | None:
    started_ms = number(fields.get("started"))
    return instant(started_ms) if started_ms else None
