"""A plain Python model of the store: what every verb of the contract does, on dicts and lists.

Written from the rules that ARCHITECTURE.md states and from `aiotq/store/contract.py`, not from the scripts: where the
two differ, one of them is wrong.

What the rules leave open is not predicted but learnt: which tickets a bounded reclaim takes, and in which order a
set's members come to the front of their line. `reclaim` and `retire` therefore take what the store then shows
(`tests/model/census.py`), and check that it is one of the allowed answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq.job import LARGE, LARGE_RECORD, JobStatus, parse_ticket, ticket
from aiotq.store.contract import (
    MAX_CLAIMED,
    Backlog,
    Claimed,
    Ended,
    Enqueued,
    Exchanged,
    Peer,
    Place,
    Postponed,
    Promoted,
    PutBack,
    Reclaimed,
    Renewed,
    Replaced,
)
from tests.model.state import State, header, home, well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiotq.store.contract import Finished, NewJob, Replacement, WorkerCard
    from aiotq.store.tallies import Tally
    from tests.model.census import Census


@dataclass(slots=True)
class _Found:
    """What a claim, or a doubt, came upon."""

    claimed: list[Claimed] = field(default_factory=list)
    dropped: int = 0
    garbage: list[str] = field(default_factory=list)


class Model(State):
    """The verbs."""

    # --- a sender's side

    def enqueue(self, jobs: Sequence[NewJob], *, now_ms: int) -> list[Enqueued | None]:
        self._begin()
        waiting: dict[str, int] = {}
        for line, tickets in self.lines.items():
            queue = line.partition(":")[0]
            waiting[queue] = waiting.get(queue, 0) + len(tickets)
        return [self._enqueue_one(job, now_ms, waiting) for job in jobs]

    def _enqueue_one(self, job: NewJob, now_ms: int, waiting: dict[str, int]) -> Enqueued | None:
        """None: its queue is full. waiting: how many tickets are in the lines of each queue."""
        found = self.records.get(job.job_id)
        if found is not None:
            read = header(found)
            return Enqueued.SAME if read and read[1] == job.generation else Enqueued.EXISTED
        queue = job.line.partition(":")[0]
        if job.max_len is not None and waiting.get(queue, 0) >= job.max_len:
            return None
        self.records[job.job_id] = job.head + b"%013d" % now_ms + job.body
        self._count(f"e:{queue}", now_ms)
        text = ticket(job.line, job.generation, job.job_id)
        due_ms = job.due_ms if job.delay_ms is None else now_ms + job.delay_ms
        if due_ms is None:
            self._push(text)
            waiting[queue] = waiting.get(queue, 0) + 1
        else:
            self._schedule(text, due_ms)
        return Enqueued.NEW

    def locate(self, job_id: str, *, generation: str, lines: Sequence[str]) -> Place:
        self._begin()
        if header(self.records.get(job_id)) != ("w", generation):
            return Place(status=None)
        lost = self.lost.get(job_id, 0)
        tickets = [ticket(line, generation, job_id) for line in lines]
        worker = self._holder(tickets)
        if worker is not None:
            label = self.cards[worker].label
            return Place(status=JobStatus.RUNNING, worker_id=worker, worker=label, lost=lost)
        for text in tickets:
            if text in self.schedule:
                return Place(status=JobStatus.SCHEDULED, due_ms=self.schedule[text], lost=lost)
        return Place(status=JobStatus.QUEUED, lost=lost)

    def replace(self, wanted: Replacement, *, now_ms: int) -> Replaced:
        self._begin()
        read = header(self.records.get(wanted.job_id))
        if read is None:
            return Replaced.CHANGED
        if read[1] == wanted.new_generation:
            return Replaced.DONE
        if read != (wanted.state, wanted.generation):
            return Replaced.CHANGED
        tickets = [ticket(line, wanted.generation, wanted.job_id) for line in wanted.lines]
        if self._holder(tickets) is not None:
            return Replaced.HELD
        self.records[wanted.job_id] = wanted.record
        if wanted.line is None:
            self.forget(wanted.job_id)
            self._remember(wanted.record, wanted.job_id)
            self._count("cancelled", now_ms)
            self._count(f"q:{wanted.lines[0].partition(':')[0]}", now_ms)
        else:
            self.dead.pop(wanted.job_id, None)
            if wanted.forgets:
                self.lost.pop(wanted.job_id, None)
            text = ticket(wanted.line, wanted.new_generation, wanted.job_id)
            if wanted.delay_ms is None:
                self._push(text)
            else:
                self._schedule(text, now_ms + wanted.delay_ms)
        for text in tickets:
            self.schedule.pop(text, None)  # the one in a line is left to be dropped
        return Replaced.DONE

    def cancel(self, job_id: str, *, generation: str, lines: Sequence[str]) -> bool:
        self._begin()
        holder = self._holder([ticket(line, generation, job_id) for line in lines])
        if holder is not None:
            self.cancels[job_id] = holder
        return holder is not None

    def live_workers(self) -> dict[str, list[str]]:
        return {card.label: list(card.queues) for name, card in self.cards.items() if self.workers[name] > 0}

    def backlog(self, queues: Iterable[str]) -> Backlog:
        wanted = set(queues)
        held = [text for hands in self.active.values() for text in hands]
        return Backlog(
            queued=sum(len(waiting) for line, waiting in self.lines.items() if line.split(":")[0] in wanted),
            running=sum(parse_ticket(text).queue in wanted for text in held),
            scheduled=any(text.split(":")[0] in wanted for text in self.schedule),
        )

    def note(self, worker_id: str, tickets: Iterable[str]) -> list[bool]:
        """Of which jobs it may keep what they wrote: of those that the worker holds, and that have a record."""
        self._begin()
        held = self.active.get(worker_id, set())
        return [text in held and self.records.get(parse_ticket(text).job_id, b"")[6:19].isdigit() for text in tickets]

    def pause(self, queue: str) -> None:
        self._begin()
        self.paused.add(queue)

    def resume(self, queue: str) -> None:
        self._begin()
        self.paused.discard(queue)
        if self._claimable(queue, suspects=True):
            self.woken.add(queue)
        self.may_wake.add(queue)

    # --- a worker's side

    def register(self, card: WorkerCard, *, now_ms: int) -> bool:
        self._begin()
        if card.worker_id in self.workers:
            return False
        self.workers[card.worker_id] = now_ms + card.lease_ms
        self.cards[card.worker_id] = card
        return True

    def retire(self, worker: str, *, census: Census) -> int:
        """census: the store afterwards, for the order in which a set's members came to the front."""
        self._begin()
        if self.workers.get(worker, 0) <= 0:
            return 0
        back = self.active.pop(worker, set())
        self._to_the_front(back, census)
        self._remove_worker(worker)
        if self.poller is not None and self.poller[0] == worker:
            self.poller = None  # another one need not wait for the end of its lease
        return len(back)

    def renew(self, worker: str, *, lease_ms: int, now_ms: int) -> Renewed:
        self._begin()
        if self.workers.get(worker, 0) <= 0:
            return Renewed(alive=False)
        self.workers[worker] = now_ms + lease_ms
        odd = [
            Peer(worker_id=name, lease_end_ms=end, lease_ms=self.cards[name].lease_ms)
            for name, end in self.workers.items()
            if name != worker and not now_ms < end <= now_ms + self.cards[name].lease_ms
        ]
        return Renewed(alive=True, now_ms=now_ms, suspicious=odd)

    def reclaim(self, worker: str, *, seen_ms: int, limit: int, now_ms: int, census: Census) -> Reclaimed:
        """census: the store afterwards: which tickets came back, in which order, and whether the worker has gone."""
        self._begin()
        end = self.workers.get(worker)
        if end is None or end != seen_ms:
            return Reclaimed.CHANGED
        furthest = now_ms + self.cards[worker].lease_ms
        if end > furthest:
            self.workers[worker] = furthest
            return Reclaimed.PULLED_IN
        if end > now_ms:
            return Reclaimed.CHANGED
        hands = self.active.pop(worker, set())
        kept = set(census.active.get(worker, ()))
        assert kept <= hands, f"a reclaim put {kept - hands} into a dead worker's hands"
        back = hands - kept
        assert len(back) == min(limit, len(hands)), f"a reclaim of at most {limit} took {len(back)} of {len(hands)}"
        # A record that is garbage makes stale tickets of its job good again: then which of two is lost first is open.
        in_order = sorted(back, key=lambda text: text not in census.lines.get(home(parse_ticket(text).line), ()))
        self._to_the_front({self._lose(text) for text in in_order}, census)
        if in_order:
            self._count("lost", now_ms, len(in_order))
        if kept:
            self.active[worker] = kept
        # Having taken as many as it may, it may need one more call to see that all are back.
        if kept or (len(back) == limit and worker in census.workers):
            self.workers[worker] = 0
            return Reclaimed.MORE
        self._remove_worker(worker)
        return Reclaimed.DONE

    def tally(self, worker: str, tally: Tally, *, now_ms: int) -> bool:
        """Whether the worker is known."""
        self._begin()
        if self.workers.get(worker, 0) <= 0:
            return False
        if (worker, tally.number) not in self.tallied:
            self.tallied.add((worker, tally.number))
            for name, number in tally.counters.items():
                self._count(name, now_ms, number)
        return True

    def promote(self, worker: str, *, limit: int, lease_ms: int, now_ms: int) -> Promoted:
        self._begin()
        if self.poller is not None:
            leader, end = self.poller
            # One that ends further ahead than a lease was given before the clock stepped back.
            if leader != worker and now_ms < end <= now_ms + lease_ms:
                return Promoted(leader=False, wait_us=(end - now_ms) * 1_000)
        self.poller = (worker, now_ms + lease_ms)
        moved, garbage = self._promote(limit, now_ms)
        return Promoted(leader=True, moved=moved, wait_us=self._next_due_us(now_ms), garbage=garbage)

    def exchange(
        self,
        worker: str,
        finished: Sequence[Finished],
        *,
        queues: Sequence[str],
        limit: int,
        suspects: bool = True,
        held: Sequence[str] | None = None,
        now_ms: int,
    ) -> Exchanged:
        self._begin()
        if self.workers.get(worker, 0) <= 0:
            return Exchanged(alive=False)
        hands = self.active.setdefault(worker, set())
        stored = self._finish(hands, finished, now_ms)
        running = {parse_ticket(text).job_id for text in hands}
        found = _Found()
        gone: list[str] = []
        if held is not None:
            gone = [text for text in held if text not in hands]
            unheld = sorted(hands - set(held))[:MAX_CLAIMED]
            hands.difference_update(unheld)
            self._check([(f"active:{worker}", text) for text in unheld], hands, found)
        else:
            found.garbage += self._promote(limit, now_ms)[1]
            took = self._claim(hands, queues, limit, found, suspects=suspects)
            left = {queue for queue in queues if self._claimable(queue, suspects=suspects and not took)}
            self.woken |= left
        # In doubt it will ask again at once; and a suspect that is left, after one was taken, may wake somebody else.
        self.may_wake |= {queue for queue in queues if self._claimable(queue, suspects=suspects)}
        self.fence += bool(found.claimed)
        if not hands:
            del self.active[worker]
        return Exchanged(
            alive=True,
            stored=stored,
            claimed=found.claimed,
            gone=gone,
            fence=self.fence,
            active=len(hands),
            cancels=sorted(job_id for job_id in running if self.cancels.get(job_id) == worker),
            dropped=found.dropped,
            garbage=found.garbage,
            now_ms=now_ms,
            next_due_us=self._next_due_us(now_ms),
        )

    # --- parts of `exchange`

    def _finish(self, hands: set[str], finished: Sequence[Finished], now_ms: int) -> list[bool]:
        stored: list[bool] = []
        back: dict[str, list[str]] = {}
        for outcome in finished:
            mine = outcome.ticket in hands
            hands.discard(outcome.ticket)
            job_id = parse_ticket(outcome.ticket).job_id
            stored.append(mine and job_id in self.records)
            if mine and job_id not in self.records:
                self.forget(job_id)
            if not stored[-1]:
                continue
            match outcome:
                case Ended():
                    self.records[job_id] = outcome.record
                    self.forget(job_id)
                    if outcome.dead:
                        self.dead[job_id] = now_ms
                case Postponed():
                    self.records[job_id] = outcome.record
                    self._schedule(outcome.new_ticket, now_ms + outcome.delay_ms)
                case PutBack():
                    new = parse_ticket(outcome.new_ticket)
                    record = self.records[job_id]
                    if len(record) >= 19:  # shorter ones have no generation
                        self.records[job_id] = record[:2] + new.generation.encode() + record[6:]
                    back.setdefault(home(new.line), []).append(outcome.new_ticket)
                    self.pushed.append(outcome.new_ticket)
        self._remember_all([outcome for outcome, done in zip(finished, stored, strict=True) if done])
        for line, group in back.items():
            self.lines[line] = group + self.lines.get(line, [])
        return stored

    def _remember_all(self, outcomes: Sequence[Finished]) -> None:
        ended = [outcome for outcome in outcomes if isinstance(outcome, Ended)]
        for outcome in sorted(ended, key=lambda one: one.dead):  # the dead letters last
            self._remember(outcome.record, parse_ticket(outcome.ticket).job_id)

    def _claim(self, hands: set[str], queues: Sequence[str], limit: int, found: _Found, *, suspects: bool) -> bool:
        """Take up to `limit` tickets, the queues in order, their lines by priority. Whether one was a suspect."""
        taken: list[tuple[str, str]] = []  # the line it was found in, the ticket
        took = False
        for queue in queues:
            for place in "s0123456789":
                line = f"{queue}:{place}"
                room = limit - len(taken)
                if place == "s":
                    room = min(room, int(suspects and not took))
                if queue in self.paused or line not in self.lines or room == 0:
                    continue
                got = self.lines[line][:room]
                del self.lines[line][:room]
                if not self.lines[line]:
                    del self.lines[line]
                took = took or place == "s"
                taken += [(f"line:{line}", text) for text in got]
        self._check(taken, hands, found)
        return took

    def _check(self, taken: list[tuple[str, str]], hands: set[str], found: _Found) -> None:
        """A worker gets what is still true; of a record that can't be read, it will make a dead letter."""
        for key, text in taken:
            if not well_formed(text):
                self.waste.add(text)
                found.garbage.append(key)
                found.dropped += 1
                continue
            parsed = parse_ticket(text)
            record = self.records.get(parsed.job_id)
            if record is None:
                self.forget(parsed.job_id)
            if record is None or (header(record) or ("w", parsed.generation)) != ("w", parsed.generation):
                found.dropped += 1
                continue
            hands.add(text)
            large = parsed.generation.startswith(LARGE) or len(record) > LARGE_RECORD
            found.claimed.append(
                Claimed(
                    ticket=text,
                    record=None if large and record else record,
                    lost=self.lost.get(parsed.job_id, 0),
                    cancelled=parsed.job_id in self.cancels,
                )
            )
