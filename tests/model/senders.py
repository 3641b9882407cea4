"""Rules of those who enqueue jobs, and of people who look at them, cancel, retry and reschedule them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from aiotq.store.contract import Enqueued
from tests.model.hands import DELAYS_MS, PLACES, QUEUES, new_job, own_lines, replacement
from tests.model.life import START_MS, Life
from tests.model.state import header

if TYPE_CHECKING:
    from aiotq.store.contract import NewJob, Replacement

IDS = st.sampled_from(["j1", "j2", "j3", "j4", "j:5"])
LINES = st.builds("{}:{}".format, st.sampled_from(QUEUES), st.sampled_from(PLACES))
JOBS = st.tuples(IDS, LINES, st.sampled_from([None, *DELAYS_MS]), st.booleans())  # ... its delay, whether it is large


class Senders(Life):
    """Senders and people."""

    @rule(
        wanted=st.lists(
            st.tuples(IDS, LINES, st.sampled_from([None, *DELAYS_MS]), st.booleans()), min_size=1, max_size=4
        )
    )
    def enqueue(self, wanted: list[tuple[str, str, int | None, bool]]) -> None:
        jobs = [
            new_job(job_id, line, self.stamps.new(large=large), delay_ms=delay_ms)
            for job_id, line, delay_ms, large in wanted
        ]
        self._enqueue(jobs)

    @rule(job_id=IDS, line=LINES, ms=st.sampled_from([-60_000, 0, 1_000, 5_000]))
    def enqueue_for_an_instant(self, job_id: str, line: str, ms: int) -> None:
        self._enqueue([new_job(job_id, line, self.stamps.new(), due_ms=START_MS + ms)])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def repeat_an_enqueue(self, data: st.DataObject) -> None:
        self._enqueue([self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]])

    def _enqueue(self, jobs: list[NewJob]) -> None:
        self.before()
        got = self.run(self.store.enqueue(jobs, now_ms=self.now_ms))
        assert list(got) == self.model.enqueue(jobs, now_ms=self.now_ms)
        for job, found in zip(jobs, got, strict=True):
            self.jobs[job.job_id] = job
            if found is Enqueued.NEW:
                self.line_of[job.job_id] = job.line
        self.pair.agree()

    # --- a person

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.records)))
        assert self.run(self.store.read(job_id)) == self.model.records[job_id]
        read = header(self.model.records[job_id])
        if read is not None:
            self.reads[job_id] = read

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), kind=st.sampled_from(["cancel", "again", "later"]))
    def replace(self, data: st.DataObject, kind: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.reads)))
        read = self.reads[job_id]
        if read[0] not in {"w", "f"} or (kind == "cancel" and read[0] == "f"):
            return
        suspect = self.model.lost.get(job_id, 0) >= 2
        lines = own_lines(self.line_of[job_id])
        wanted = replacement(kind, job_id, read, lines, self.stamps, suspect=suspect)
        self.replacements.append(wanted)
        self._replace(wanted)

    @precondition(lambda self: self.replacements)
    @rule(data=st.data())
    def repeat_a_replacement(self, data: st.DataObject) -> None:
        self._replace(data.draw(st.sampled_from(self.replacements[-4:])))

    def _replace(self, wanted: Replacement) -> None:
        self.before()
        got = self.run(self.store.replace(wanted, now_ms=self.now_ms))
        assert got == self.model.replace(wanted, now_ms=self.now_ms)
        self.pair.agree()

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def cancel_or_locate(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.reads)))
        generation, lines = self.reads[job_id][1], own_lines(self.line_of[job_id])
        self.before()
        if data.draw(st.booleans(), label="cancel"):
            got = self.run(self.store.cancel(job_id, generation=generation, lines=lines))
            assert got == self.model.cancel(job_id, generation=generation, lines=lines)
        else:
            place = self.run(self.store.locate(job_id, generation=generation, lines=lines))
            wanted = self.model.locate(job_id, generation=generation, lines=lines)
            assert (place.status, place.worker_id, place.worker) == (wanted.status, wanted.worker_id, wanted.worker)
            assert place.due_ms == wanted.due_ms
            assert place.status is None or place.lost == wanted.lost
        self.pair.agree()

    @rule(queue=st.sampled_from(QUEUES), pause=st.booleans())
    def pause_or_resume(self, queue: str, *, pause: bool) -> None:
        self.before()
        if pause:
            self.run(self.store.pause(queue))
            self.model.pause(queue)
        else:
            self.run(self.store.resume(queue))
            self.model.resume(queue)
        self.pair.agree()

    @rule(queues=st.sets(st.sampled_from(QUEUES), min_size=1))
    def look_at_the_backlog(self, queues: set[str]) -> None:
        got = self.run(self.store.backlog(sorted(queues)))
        wanted = self.model.backlog(queues)
        assert got.empty == wanted.empty
        assert (got.queued, got.running) == (wanted.queued, wanted.running)
        assert self.run(self.store.live_workers()) == self.model.live_workers()
