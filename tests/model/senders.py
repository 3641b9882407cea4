"""Rules of those who enqueue jobs, and of people who look at them, cancel, retry and reschedule them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from aiotq.job import parse_ticket
from aiotq.store.contract import Enqueued
from tests.model.hands import DELAYS_MS, PLACES, QUEUES, new_job, own_lines, replacement
from tests.model.life import DICE, LOSSES, START_MS, Life
from tests.model.state import header

if TYPE_CHECKING:
    from aiotq.store.contract import NewJob, Replacement

LINES = st.builds("{}:{}".format, st.sampled_from(QUEUES), st.sampled_from(PLACES))
DELAYS = st.sampled_from([None, None, *DELAYS_MS])
INSTANTS = st.sampled_from([None, None, None, -60_000, 0, 5_000])  # ... from the start of this life
LENGTHS = st.sampled_from([None, None, None, 1, 3])
JOBS = st.tuples(LINES, DELAYS, INSTANTS, LENGTHS, st.booleans(), st.sampled_from([True, True, True, False]))


Wanted = tuple[str, int | None, int | None, int | None, bool, bool]


class Senders(Life):
    """Senders and people."""

    @initialize(wanted=st.lists(JOBS, min_size=2, max_size=5), die=DICE)
    def begin_with_jobs(self, wanted: list[Wanted], die: int) -> None:
        self.enqueue(wanted, die)

    @rule(wanted=st.lists(JOBS, min_size=1, max_size=4), die=DICE, lose=LOSSES)
    def enqueue(self, wanted: list[Wanted], die: int, lose: str = "") -> None:
        chance = self.cast(die)
        jobs: list[NewJob] = []
        for line, delay_ms, instant_ms, max_len, large, fresh in wanted:
            if fresh or not self.jobs:
                self.made += 1
                job_id = f"j:{self.made}"
            else:
                job_id = chance.choice(sorted(self.jobs))
            due_ms = None if instant_ms is None or delay_ms is not None else START_MS + instant_ms
            generation = self.stamps.new(large=large and line.endswith("9"))
            jobs.append(new_job(job_id, line, generation, delay_ms=delay_ms, due_ms=due_ms, max_len=max_len))
        for job in jobs:
            self.jobs.setdefault(job.job_id, job)
        self.send(partial(self._enqueue_again, jobs), lose=lose)

    def _enqueue_again(self, jobs: list[NewJob]) -> None:
        if all(job.job_id in self.jobs for job in jobs):  # else a record has gone: nobody repeats for so long
            self._enqueue(jobs)

    def _enqueue(self, jobs: list[NewJob]) -> None:
        self.before()
        got = self.run(self.store.enqueue(jobs, now_ms=self.now_ms))
        answers = [answer if isinstance(answer, Enqueued) else None for answer in got]  # None: its queue is full
        assert answers == self.model.enqueue(jobs, now_ms=self.now_ms)
        for job, found in zip(jobs, got, strict=True):
            self.jobs[job.job_id] = job
            if found is Enqueued.NEW:
                self.line_of[job.job_id] = job.line
        self.pair.agree()

    @rule(die=DICE)
    def a_senders_request_comes_twice(self, die: int) -> None:
        chance = self.cast(die)
        if self.replacements and die % 2:
            self._replace(chance.choice(self.replacements[-4:]))
        elif self.jobs:
            self._enqueue([self.jobs[chance.choice(sorted(self.jobs))]])

    # --- a person

    @rule(die=DICE, kind=st.sampled_from(["nothing", "cancel", "again", "later", "requeue", "mark", "mark", "locate"]))
    def a_person_acts_on_what_was_read(self, die: int, kind: str) -> None:
        """... just now or a while ago."""
        chance = self.cast(die)
        readable = {name for name, one in self.model.records.items() if (header(one) or " ")[0] in "wf"}
        running = readable & {parse_ticket(text).job_id for hands in self.model.active.values() for text in hands}
        if running and chance.random() < 0.5:
            readable = running
        if readable and chance.random() < 0.75:
            self._read(chance.choice(sorted(readable)))
        if not self.reads or kind == "nothing":
            return
        job_id = chance.choice([*sorted(set(self.reads) & readable), *sorted(self.reads)])
        if kind == "mark" and job_id in self.line_of:
            self.send(partial(self._mark, job_id, self.reads[job_id][1]), lose=chance.choice(["", "", "request"]))
        elif kind == "locate":
            self._locate(job_id)
        elif kind != "cancel" or self.reads[job_id][0] == "w":
            suspect = self.model.lost.get(job_id, 0) >= 2
            lines = own_lines(self.line_of[job_id])
            wanted = replacement(kind, job_id, self.reads[job_id], lines, self.stamps, suspect=suspect)
            self.replacements.append(wanted)
            self.send(partial(self._replace, wanted), lose=chance.choice(["", "", "reply", "request"]))

    def _read(self, job_id: str) -> None:
        record = self.run(self.store.read(job_id))
        assert record == self.model.records[job_id]
        read = header(record)
        assert read is not None
        self.reads[job_id] = read

    def _replace(self, wanted: Replacement) -> None:
        self.before()
        got = self.run(self.store.replace(wanted, now_ms=self.now_ms))
        assert got == self.model.replace(wanted, now_ms=self.now_ms)
        self.pair.agree()

    def _mark(self, job_id: str, generation: str) -> None:
        lines = own_lines(self.line_of[job_id])
        self.before()
        got = self.run(self.store.cancel(job_id, generation=generation, lines=lines))
        assert got == self.model.cancel(job_id, generation=generation, lines=lines)
        self.pair.agree()

    def _locate(self, job_id: str) -> None:
        generation, lines = self.reads[job_id][1], own_lines(self.line_of[job_id])
        place = self.run(self.store.locate(job_id, generation=generation, lines=lines))
        wanted = self.model.locate(job_id, generation=generation, lines=lines)
        assert (place.status, place.worker_id, place.worker) == (wanted.status, wanted.worker_id, wanted.worker)
        assert place.due_ms == wanted.due_ms
        assert place.status is None or place.lost == wanted.lost

    @rule(queue=st.sampled_from(QUEUES), verb=st.sampled_from(["pause", "resume", "resume", "look"]), lose=LOSSES)
    def an_operator_acts(self, queue: str, verb: str, lose: str) -> None:
        if verb == "look":
            self.before()
            self._look(queue)
        else:
            self.send(partial(self._pause if verb == "pause" else self._resume, queue), lose=lose)

    def _pause(self, queue: str) -> None:
        self.before()
        self.run(self.store.pause(queue))
        self.model.pause(queue)
        self.pair.agree()

    def _resume(self, queue: str) -> None:
        self.before()
        self.run(self.store.resume(queue))
        self.model.resume(queue)
        self.pair.agree()

    def _look(self, queue: str) -> None:
        got = self.run(self.store.backlog([queue]))
        wanted = self.model.backlog([queue])
        assert got.empty == wanted.empty
        assert (got.queued, got.running) == (wanted.queued, wanted.running)
        assert self.run(self.store.live_workers()) == self.model.live_workers()
