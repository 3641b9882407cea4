"""Rules of workers: they claim and finish, lose replies, die, come back too late, go, and reclaim each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from aiotq.store.contract import MAX_CLAIMED, MAX_PROMOTED, MAX_RECLAIMED, Reclaimed, WorkerCard
from tests.model.hands import DAY_MS, DELAYS_MS, QUEUES, Hand, Request, outcome
from tests.model.life import LEASE_MS, Life

if TYPE_CHECKING:
    from aiotq.store.contract import Exchanged

DELAYS = st.sampled_from(DELAYS_MS)
LOSSES = st.sampled_from(["", "", "", "reply", "request"])
OUTCOMES = st.sampled_from(["succeeded", "died", "retried", "returned"])


class Workers(Life):
    """Workers."""

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
        finished = list(hand.unanswered)
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

    def _heard(self, hand: Hand, request: Request, got: Exchanged) -> None:
        """What a worker makes of a reply."""
        if not got.alive:
            self.hands.remove(hand)
            return
        hand.held -= {one.ticket for one in request.finished} | set(got.gone)
        hand.held |= {one.ticket for one in got.claimed}
        hand.unanswered, hand.doubt = [], len(hand.held) != got.active
        if not hand.doubt:
            assert hand.held == self.model.active.get(hand.worker_id, set()), "a worker is wrong and can't know it"

    def _exchange(self, request: Request) -> Exchanged:
        self.before()
        common: dict[str, Any] = {
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
        assert got.garbage or not wanted.garbage
        self.pair.agree()
