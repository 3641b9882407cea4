"""The store and its model live the same random life and may never disagree.

Every script in any order, with workers that die, freeze past their lease and come back, with replies that are lost and
requests that come twice or late, with compare-and-set racing claims, with a clock that steps back, and with garbage.

AIOTQ_MODEL_EXAMPLES=5000 lets it run longer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from aiotq.store.contract import MAX_CLAIMED, MAX_PROMOTED, MAX_RECLAIMED, Enqueued, Reclaimed, WorkerCard
from tests.model.hands import (
    DAY_MS,
    DELAYS_MS,
    PLACES,
    QUEUES,
    Hand,
    Request,
    Stamps,
    new_job,
    outcome,
    own_lines,
    replacement,
)
from tests.model.rig import Pair, Rig
from tests.model.state import header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiotq.store.contract import NewJob, Replacement
    from tests.servers import Server

START_MS = 1_800_000_000_000
LEASE_MS = 15_000
EXAMPLES = int(os.environ.get("AIOTQ_MODEL_EXAMPLES", "60"))
STEPS = 60

IDS = st.sampled_from(["j1", "j2", "j3", "j4", "j:5"])
LINES = st.builds("{}:{}".format, st.sampled_from(QUEUES), st.sampled_from(PLACES))
JOBS = st.tuples(IDS, LINES, st.sampled_from([None, *DELAYS_MS]), st.booleans())  # ... its delay, whether it is large
DELAYS = st.sampled_from(DELAYS_MS)
LOSSES = st.sampled_from(["", "", "", "reply", "request"])
OUTCOMES = st.sampled_from(["succeeded", "died", "retried", "returned"])
GARBAGE = st.sampled_from(
    ["", "garbage", "a:5:Z", "a:x:ZZZZ:j1", ":5:ZZZZ:j1", "a:5:ZZZZ:", "\udcff\udcfe", "a:5:ZZZZ:j 1"]
)
STALE = st.sampled_from(["a:5:ZZZZ:j1", "b:0:ZZZZ:j2", "a:f:ZZZZ:nobody", "a:s:ZZZZ:j3"])


class StoreMachine(RuleBasedStateMachine):
    """Each rule gives one verb to both, and compares all keys."""

    rig: ClassVar[Rig]

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(self.rig)
        self.model, self.store, self.run = self.pair.model, self.pair.store, self.pair.run
        self.now_ms = START_MS
        self.stamps = Stamps()
        self.jobs: dict[str, NewJob] = {}  # the last one sent of each id
        self.line_of: dict[str, str] = {}
        self.hands: list[Hand] = []
        self.born = 0
        self.sent: list[Request] = []
        self.reads: dict[str, tuple[str, str]] = {}  # what somebody read of a job, some time ago
        self.replacements: list[Replacement] = []
        self.tokens_stay = False

    @initialize(tokens_stay=st.booleans())
    def begin(self, *, tokens_stay: bool) -> None:
        """tokens_stay: nobody takes tokens; else they are taken before each verb, so that each verb's own are seen."""
        self.tokens_stay = tokens_stay

    def before(self) -> None:
        if not self.tokens_stay:
            self.pair.take_tokens()

    # --- time

    @rule(ms=st.sampled_from([1, 499, 1_000, 4_000, LEASE_MS, LEASE_MS + 1]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(ms=st.sampled_from([1_000, 20_000, 60_000]))
    def the_clock_steps_back(self, ms: int) -> None:
        self.now_ms -= ms

    # --- senders

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

    # --- workers

    @precondition(lambda self: len(self.hands) < 3)
    @rule(queues=st.permutations(QUEUES), count=st.integers(1, 3))
    def a_worker_comes(self, queues: list[str], count: int) -> None:
        self.born += 1
        hand = Hand(f"w{self.born}", tuple(queues[:count]))
        self.hands.append(hand)
        self._register(hand)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def a_known_id_is_refused(self, data: st.DataObject) -> None:
        self._register(data.draw(st.sampled_from(self.hands)))

    def _register(self, hand: Hand) -> None:
        card = WorkerCard(
            worker_id=hand.worker_id,
            label=f"at {hand.worker_id}",
            host="h",
            pid=7,
            queues=list(hand.queues),
            lease_ms=LEASE_MS,
        )
        self.before()
        got = self.run(self.store.register(card, now_ms=self.now_ms))
        assert got == self.model.register(card, now_ms=self.now_ms)
        self.pair.agree()

    @precondition(lambda self: self.hands)
    @rule(
        data=st.data(), limit=st.sampled_from([0, 1, 2, 3, 10]), lose=st.sampled_from(["", "", "", "reply", "request"])
    )
    def exchange(self, data: st.DataObject, limit: int, lose: str) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        finished: list = list(hand.unanswered)
        free = sorted(hand.held - {one.ticket for one in finished})
        ending = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
        finished += [outcome(data.draw(OUTCOMES), text, self.stamps, data.draw(DELAYS)) for text in ending]
        request = Request(
            worker_id=hand.worker_id,
            finished=finished,
            queues=hand.queues,
            limit=MAX_CLAIMED if hand.doubt else limit,
            suspects=hand.may_take_suspect and data.draw(st.booleans()),
            held=sorted(hand.held - {one.ticket for one in finished}) if hand.doubt else None,
        )
        self.sent.append(request)
        if lose == "request":  # it may still come later
            hand.unanswered, hand.doubt = finished, True
            return
        got = self._exchange(request)
        if lose == "reply":
            hand.unanswered, hand.doubt = finished, True
            return
        self._heard(hand, request, got)

    def _heard(self, hand: Hand, request: Request, got) -> None:
        """What a worker makes of a reply."""
        if not got.alive:
            self.hands.remove(hand)
            return
        hand.held -= {one.ticket for one in request.finished} | set(got.gone)
        hand.held |= {one.ticket for one in got.claimed}
        hand.unanswered, hand.doubt = [], len(hand.held) != got.active
        if not hand.doubt:
            assert hand.held == self.model.active.get(hand.worker_id, set()), "a worker is wrong and can't know it"

    def _exchange(self, request: Request):
        self.before()
        common = {
            "queues": request.queues,
            "limit": request.limit,
            "suspects": request.suspects,
            "held": request.held,
            "now_ms": self.now_ms,
        }
        got = self.run(self.store.exchange(request.worker_id, request.finished, failure_ttl_ms=30 * DAY_MS, **common))
        wanted = self.model.exchange(request.worker_id, request.finished, **common)
        self.pair.same_exchange(got, wanted, doubt=request.held is not None)
        self.pair.agree()
        return got

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_request_comes_late_or_twice(self, data: st.DataObject) -> None:
        self._exchange(data.draw(st.sampled_from(self.sent[-6:])))

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        self.hands.remove(data.draw(st.sampled_from(self.hands)))

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def a_worker_goes(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        self.hands.remove(hand)
        self.before()
        got = self.run(self.store.retire(hand.worker_id, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got == self.model.retire(hand.worker_id, census=seen)
        self.pair.agree(seen)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        self.before()
        got = self.run(self.store.renew(hand.worker_id, lease_ms=LEASE_MS, now_ms=self.now_ms))
        wanted = self.model.renew(hand.worker_id, lease_ms=LEASE_MS, now_ms=self.now_ms)
        assert got.alive == wanted.alive
        assert set(got.suspicious) == set(wanted.suspicious)
        if not got.alive:
            self.hands.remove(hand)
        self.pair.agree()

    @precondition(lambda self: self.model.workers)
    @rule(
        data=st.data(), limit=st.sampled_from([1, 2, MAX_RECLAIMED]), right=st.sampled_from([True, True, True, False])
    )
    def reclaim(self, data: st.DataObject, limit: int, *, right: bool) -> None:
        worker_id = data.draw(st.sampled_from([*sorted(self.model.workers), "nobody"]))
        end_ms = self.model.workers.get(worker_id, 0)
        seen_ms = end_ms if right else data.draw(st.sampled_from([0, end_ms + 1]))
        self.before()
        got = self.run(self.store.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got is self.model.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms, census=seen)
        self.pair.agree(seen)

    @precondition(lambda self: self.model.workers)
    @rule(data=st.data())
    def a_dead_worker_is_reclaimed_whole(self, data: st.DataObject) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.model.workers)))
        self.now_ms = max(self.now_ms, self.model.workers[worker_id])
        self.before()
        got = Reclaimed.MORE
        while got is Reclaimed.MORE:
            seen_ms = self.model.workers[worker_id]
            got = self.run(self.store.reclaim(worker_id, seen_ms=seen_ms, limit=2, now_ms=self.now_ms))
            seen = self.pair.look()
            assert got is self.model.reclaim(worker_id, seen_ms=seen_ms, limit=2, now_ms=self.now_ms, census=seen)
            self.pair.agree(seen)
        assert got is Reclaimed.DONE

    @rule(worker_id=st.sampled_from(["w1", "w2", "w3"]), limit=st.sampled_from([1, 2, MAX_PROMOTED]))
    def promote(self, worker_id: str, limit: int) -> None:
        self.before()
        got = self.run(self.store.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms))
        wanted = self.model.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms)
        assert (got.leader, got.moved, got.wait_us) == (wanted.leader, wanted.moved, wanted.wait_us)
        assert bool(got.garbage) == bool(wanted.garbage)
        self.pair.agree()

    # --- trouble by hand

    @rule(text=GARBAGE | STALE, queue=st.sampled_from(QUEUES), place=st.sampled_from("05s"))
    def a_ticket_in_a_line_that_is_none(self, text: str, queue: str, place: str) -> None:
        self.pair.raw.rpush(self.pair.key(f"line:{queue}:{place}"), text.encode("utf-8", "surrogateescape"))
        self.pair.raw.zadd(self.pair.key(f"lines:{queue}"), {place: -1 if place == "s" else int(place)})
        self.pair.raw.sadd(self.pair.key("queues"), queue)
        self.model.lines.setdefault(f"{queue}:{place}", []).append(text)

    @rule(text=GARBAGE | STALE, ms=st.sampled_from([-60_000, 0, 1_000]))
    def a_ticket_in_the_schedule_that_is_none(self, text: str, ms: int) -> None:
        self.pair.raw.zadd(self.pair.key("schedule"), {text.encode("utf-8", "surrogateescape"): START_MS + ms})
        self.model.schedule[text] = START_MS + ms

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def a_record_goes(self, data: st.DataObject) -> None:
        """By hand, or by its TTL."""
        job_id = data.draw(st.sampled_from(sorted(self.model.records)))
        self.pair.raw.delete(self.pair.key(f"job:{job_id}"))
        del self.model.records[job_id]
        self.jobs.pop(job_id, None)  # nobody repeats a request for so long
        for mark in ("lost", "cancels"):  # what nobody comes upon any more is not this test's business
            self.pair.raw.hdel(self.pair.key(mark), job_id)
        self.model.forget(job_id)

    @precondition(lambda self: self.model.records)
    @rule(
        data=st.data(), garbage=st.sampled_from([b"", b"x", b"1w", b"{}" * 20, b"\xff" * 30, b"1xAAAA0000000000000{}"])
    )
    def a_record_is_overwritten(self, data: st.DataObject, garbage: bytes) -> None:
        waiting = [name for name, one in self.model.records.items() if (header(one) or " ")[0] == "w"]
        if not waiting:
            return
        job_id = data.draw(st.sampled_from(sorted(waiting)))
        self.pair.raw.set(self.pair.key(f"job:{job_id}"), garbage)
        self.model.records[job_id] = garbage


@pytest.fixture
def rig(valkey: Server) -> Iterator[Rig]:
    made = Rig(valkey.url)
    yield made
    made.close()


@pytest.mark.timeout(900)  # finding the shortest way to a difference takes time
def test_the_store_and_its_model_never_disagree(rig: Rig) -> None:
    class Machine(StoreMachine):
        pass

    Machine.rig = rig
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=[*HealthCheck],
            phases=[Phase.generate, Phase.shrink],
        ),
    )
