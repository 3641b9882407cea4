"""Rules of workers: they claim and finish, lose replies, die, come back too late, go, and reclaim each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from aiotq.store.contract import MAX_CLAIMED, MAX_PROMOTED, MAX_RECLAIMED, Reclaimed, WorkerCard
from tests.model.hands import DAY_MS, DELAYS_MS, QUEUES, Hand, Request, outcome
from tests.model.life import LEASE_MS, Life

if TYPE_CHECKING:
    from aiotq.store.contract import Exchanged, Finished

ORDERS = st.permutations(QUEUES)
DELAYS = st.sampled_from(DELAYS_MS)
LIMITS = st.sampled_from([0, 1, 2, 3, 10])
LOSSES = st.sampled_from(["", "", "", "reply", "request"])
OUTCOMES = st.sampled_from(["succeeded", "died", "retried", "returned"])


class Workers(Life):
    """Workers."""

    # --- they come and go

    @initialize(first=ORDERS, second=ORDERS)
    def begin_with_workers(self, first: list[str], second: list[str]) -> None:
        self._comes(first)
        self._comes(second[:2])

    def _comes(self, queues: list[str]) -> Hand:
        self.born += 1
        hand = Hand(f"w{self.born}", tuple(queues))
        self.hands.append(hand)
        self._register(hand)
        return hand

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

    @rule(data=st.data(), queues=ORDERS, how=st.sampled_from(["comes", "comes", "goes", "dies", "again"]))
    def a_worker_comes_or_goes(self, data: st.DataObject, queues: list[str], how: str) -> None:
        if how == "comes" and len(self.hands) < 3:
            self._comes(queues)
        elif self.hands:
            hand = data.draw(st.sampled_from(self.hands))
            if how == "again":  # its id is known
                self._register(hand)
                return
            self.hands.remove(hand)
            if how == "goes":
                self._retire(hand)

    def _retire(self, hand: Hand) -> None:
        self.before()
        got = self.run(self.store.retire(hand.worker_id, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got == self.model.retire(hand.worker_id, census=seen)
        self.pair.agree(seen)

    # --- they work

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), limit=LIMITS, lose=LOSSES)
    def exchange(self, data: st.DataObject, limit: int, lose: str) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        free = sorted(hand.held - {one.ticket for one in hand.unanswered})
        ending = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
        finished = [outcome(data.draw(OUTCOMES), text, self.stamps, data.draw(DELAYS)) for text in ending]
        self._exchange(hand, finished, limit=limit, suspects=data.draw(st.booleans()), lose=lose)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), limit=LIMITS, kind=OUTCOMES, lose=LOSSES)
    def finish_all(self, data: st.DataObject, limit: int, kind: str, lose: str) -> None:
        hand = data.draw(st.sampled_from(self.hands))
        free = sorted(hand.held - {one.ticket for one in hand.unanswered})
        finished = [outcome(kind, text, self.stamps, data.draw(DELAYS)) for text in free]
        self._exchange(hand, finished, limit=limit, suspects=True, lose=lose)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), lose=LOSSES)
    def claim_much(self, data: st.DataObject, lose: str) -> None:
        self._exchange(data.draw(st.sampled_from(self.hands)), [], limit=10, suspects=True, lose=lose)

    def _exchange(self, hand: Hand, finished: list[Finished], *, limit: int, suspects: bool, lose: str) -> None:
        finished = [*hand.unanswered, *finished]
        request = Request(
            worker_id=hand.worker_id,
            finished=finished,
            queues=hand.queues,
            limit=MAX_CLAIMED if hand.doubt else limit,
            suspects=suspects and hand.may_take_suspect,
            held=sorted(hand.held - {one.ticket for one in finished}) if hand.doubt else None,
        )
        self.sent.append(request)
        got = None if lose == "request" else self._send(request)  # a lost request may still come later
        if got is None or lose == "reply":
            hand.unanswered, hand.doubt = finished, True
            return
        if not got.alive:
            self.hands.remove(hand)
            return
        hand.held -= {one.ticket for one in request.finished} | set(got.gone)
        hand.held |= {one.ticket for one in got.claimed}
        hand.unanswered, hand.doubt = [], len(hand.held) != got.active
        if not hand.doubt:
            assert hand.held == self.model.active.get(hand.worker_id, set()), "a worker is wrong and can't know it"

    def _send(self, request: Request) -> Exchanged:
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
        self._send(data.draw(st.sampled_from(self.sent[-6:])))

    # --- they watch each other

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
    @rule(data=st.data(), limit=st.sampled_from([1, 2, MAX_RECLAIMED]), late=st.booleans(), right=st.booleans())
    def reclaim(self, data: st.DataObject, limit: int, *, late: bool, right: bool) -> None:
        worker_id = data.draw(st.sampled_from([*sorted(self.model.workers), "nobody"]))
        end_ms = self.model.workers.get(worker_id, 0)
        if late:
            self.now_ms = max(self.now_ms, end_ms)
        seen_ms = end_ms if right else data.draw(st.sampled_from([0, end_ms, end_ms + 1]))
        half_way = self._reclaim(worker_id, seen_ms, limit) is Reclaimed.MORE
        [hand] = [one for one in self.hands if one.worker_id == worker_id] or [None]
        if half_way and hand is not None and data.draw(st.booleans(), label="goes meanwhile"):
            self.hands.remove(hand)
            self._retire(hand)

    @precondition(lambda self: self.model.workers)
    @rule(data=st.data(), limit=st.sampled_from([1, 2, MAX_RECLAIMED]))
    def a_worker_is_reclaimed_whole(self, data: st.DataObject, limit: int) -> None:
        """... and may not have noticed."""
        self._whole(data.draw(st.sampled_from(sorted(self.model.workers))), limit)

    @rule(queues=ORDERS, claims=st.integers(1, 3))
    def a_new_worker_crashes_at_once(self, queues: list[str], claims: int) -> None:
        hand = self._comes(queues)
        self._exchange(hand, [], limit=claims, suspects=True, lose="")
        self.hands.remove(hand)
        self._whole(hand.worker_id, MAX_RECLAIMED)

    def _whole(self, worker_id: str, limit: int) -> None:
        self.now_ms = max(self.now_ms, self.model.workers[worker_id])
        while self._reclaim(worker_id, self.model.workers[worker_id], limit) is Reclaimed.MORE:
            pass
        assert worker_id not in self.model.workers

    def _reclaim(self, worker_id: str, seen_ms: int, limit: int) -> Reclaimed:
        self.before()
        got = self.run(self.store.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got is self.model.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms, census=seen)
        self.pair.agree(seen)
        return got

    @rule(worker_id=st.sampled_from(["w1", "w2", "w3"]), limit=st.sampled_from([1, 2, MAX_PROMOTED]))
    def promote(self, worker_id: str, limit: int) -> None:
        self.before()
        got = self.run(self.store.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms))
        wanted = self.model.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms)
        assert (got.leader, got.moved, got.wait_us) == (wanted.leader, wanted.moved, wanted.wait_us)
        assert got.garbage or not wanted.garbage
        self.pair.agree()
