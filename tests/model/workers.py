"""Rules of workers: they claim and finish, lose replies, die, come back too late, go, and reclaim each other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from aiotq.job import parse_ticket
from aiotq.store.contract import MAX_CLAIMED, MAX_PROMOTED, MAX_RECLAIMED, Reclaimed, WorkerCard
from aiotq.store.notes import Noted
from aiotq.store.tallies import Tally
from tests.model.hands import DAY_MS, DELAYS_MS, QUEUES, Hand, Request, outcome
from tests.model.life import DICE, LEASE_MS, LOSSES, Life

if TYPE_CHECKING:
    from aiotq.store.contract import Exchanged, Finished

ORDERS = st.permutations(QUEUES)
LIMITS = st.sampled_from([0, 1, 2, 3, 10])
BY_HAND = "ZZZZ"  # the generation of tickets that were put there again and again (trouble.py)
OUTCOMES = ("succeeded", "died", "retried", "returned")


class Workers(Life):
    """Workers."""

    # --- they come and go

    @initialize(first=ORDERS, second=ORDERS)
    def begin_with_workers(self, first: list[str], second: list[str]) -> None:
        self._comes(first)
        self._comes(second[:2])

    def _comes(self, queues: list[str], lose: str = "") -> Hand:
        """lose: of a first try; without an answer a worker takes another id."""
        self.born += 1
        hand = Hand(f"w{self.born}", tuple(queues))
        if lose:
            self.send(partial(self._register, hand), lose=lose)
            return self._comes(queues)
        self.hands.append(hand)
        self._register(hand)
        return hand

    def _register(self, hand: Hand) -> bool:
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
        return got

    @rule(die=DICE, queues=ORDERS, how=st.sampled_from(["comes", "comes", "goes", "dies", "again"]), lose=LOSSES)
    def a_worker_comes_or_goes(self, die: int, queues: list[str], how: str, lose: str) -> None:
        if how == "comes" and len(self.hands) < 3:
            self._comes(queues, lose)
        elif self.hands:
            hand = self._somebody(die)
            if how == "again":  # its id is known
                self._register(hand)
                return
            self._leaves(hand)
            if how == "goes":
                self.send(partial(self._retire, hand), lose=lose)

    def _leaves(self, hand: Hand) -> None:
        self.hands.remove(hand)
        self.gone.append(hand)

    def _retire(self, hand: Hand) -> None:
        self.before()
        got = self.run(self.store.retire(hand.worker_id, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got == self.model.retire(hand.worker_id, census=seen)
        self.pair.agree(seen)

    # --- they work

    def _somebody(self, die: int) -> Hand:
        return self.hands[die % len(self.hands)] if self.hands else self._comes(sorted(QUEUES))

    @rule(die=DICE, limit=LIMITS, lose=LOSSES)
    def exchange(self, die: int, limit: int, lose: str) -> None:
        hand, chance = self._somebody(die), self.cast(die)
        free = sorted(hand.held - {one.ticket for one in hand.unanswered})
        ending = chance.sample(free, chance.randint(0, len(free)))
        finished = [outcome(chance.choice(OUTCOMES), text, self.stamps, chance.choice(DELAYS_MS)) for text in ending]
        self._exchange(hand, finished, limit=limit, suspects=chance.random() < 0.5, lose=lose)

    @rule(die=DICE, limit=LIMITS, kind=st.sampled_from(OUTCOMES), delay_ms=st.sampled_from(DELAYS_MS), lose=LOSSES)
    def finish_all(self, die: int, limit: int, kind: str, delay_ms: int, lose: str) -> None:
        hand = self._somebody(die)
        free = sorted(hand.held - {one.ticket for one in hand.unanswered})
        finished = [outcome(kind, text, self.stamps, delay_ms) for text in free]
        self._exchange(hand, finished, limit=limit, suspects=True, lose=lose)

    @rule(die=DICE, lose=LOSSES)
    def claim_much(self, die: int, lose: str) -> None:
        self._exchange(self._somebody(die), [], limit=10, suspects=True, lose=lose)

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
        self._each_attempt_has_one_outcome(request, got)
        self.pair.agree()
        return got

    def _each_attempt_has_one_outcome(self, request: Request, got: Exchanged) -> None:
        """Model and store might agree on more: a late repetition of one may not store it once more."""
        stored = [one.ticket for one, done in zip(request.finished, got.stored, strict=False) if done]
        by_hand = {text for text in stored if parse_ticket(text).generation == BY_HAND}
        again = self.over & set(stored) - by_hand
        assert not again, f"an outcome was stored of an attempt that was over: {again}"
        self.over |= set(stored)

    @rule(die=DICE)
    def a_request_comes_late_or_twice(self, die: int) -> None:
        if self.sent:
            self._send(self.cast(die).choice(self.sent[-6:]))

    @rule(die=DICE, word=st.sampled_from(["goodbye", "heartbeat"]))
    def a_last_word_comes_late_or_twice(self, die: int, word: str) -> None:
        """... of a worker that has gone, or died as it said it."""
        if self.gone:
            hand = self.cast(die).choice(self.gone[-4:])
            (self._retire if word == "goodbye" else self._renew)(hand)

    @rule(die=DICE, limit=LIMITS, lose=st.sampled_from(["reply", "request"]), late=st.booleans(), expires=st.booleans())
    def a_worker_dies_over_an_exchange(self, die: int, limit: int, lose: str, *, late: bool, expires: bool) -> None:
        """What it has sent may come before its lease ends, after that, or as it is being reclaimed."""
        hand, chance = self._somebody(die), self.cast(die)
        free = sorted(hand.held - {one.ticket for one in hand.unanswered})
        finished = [outcome(chance.choice(OUTCOMES), text, self.stamps, chance.choice(DELAYS_MS)) for text in free]
        self._exchange(hand, finished, limit=limit, suspects=True, lose=lose)
        self._leaves(hand)
        if expires and self.model.workers.get(hand.worker_id):
            self.now_ms = max(self.now_ms, self.model.workers[hand.worker_id])
            self._reclaim(hand.worker_id, self.model.workers[hand.worker_id], chance.choice([1, MAX_RECLAIMED]))
        if late:
            self._send(self.sent[-1])

    # --- their jobs write

    @rule(die=DICE, lose=LOSSES)
    def jobs_write(self, die: int, lose: str) -> None:
        """... of which this worker holds some, and others not, or not any more."""
        hand, chance = self._somebody(die), self.cast(die)
        known = sorted(set().union(*(one.held for one in (*self.hands, *self.gone))))
        tickets = chance.sample(known, min(3, len(known)))
        if tickets:
            self.send(partial(self._note, hand, tickets, chance.randint(1, 3)), lose=lose)

    def _note(self, hand: Hand, tickets: list[str], claim: int) -> None:
        line = b'{"at":%d,"level":"info","text":"x","attempt":1' % self.now_ms
        notes = [
            Noted(ticket=text, claim=claim, ttl_ms=DAY_MS, lines=[(1, line), (2, line)], progress=line + b"}")
            for text in tickets
        ]
        self.before()
        got = self.run(self.store.note(hand.worker_id, notes))
        assert list(got.noted) == self.model.note(hand.worker_id, tickets)
        self.pair.agree()

    # --- they watch each other

    @rule(die=DICE, lose=LOSSES)
    def renew(self, die: int, lose: str) -> None:
        hand = self._somebody(die)
        alive = self.send(partial(self._renew, hand), lose=lose)
        if alive is False and hand in self.hands:
            self.hands.remove(hand)

    def _renew(self, hand: Hand) -> bool:
        self.before()
        got = self.run(self.store.renew(hand.worker_id, lease_ms=LEASE_MS, now_ms=self.now_ms))
        wanted = self.model.renew(hand.worker_id, lease_ms=LEASE_MS, now_ms=self.now_ms)
        assert got.alive == wanted.alive
        assert set(got.suspicious) == set(wanted.suspicious)
        self.pair.agree()
        return got.alive

    @rule(die=DICE, started=st.integers(1, 3), lose=LOSSES)
    def tell(self, die: int, started: int, lose: str) -> None:
        """What it has counted; what was not answered, once more before anything else."""
        hand = self._somebody(die)
        tally = hand.untold or Tally(number=hand.told + 1, counters={"started": started, "w0": 1})
        hand.untold = tally
        known = self.send(partial(self._tally, hand.worker_id, tally), lose=lose)
        if known is not None:
            hand.told, hand.untold = tally.number, None

    def _tally(self, worker_id: str, tally: Tally) -> bool:
        self.before()
        got = self.run(self.store.tally(worker_id, tally, now_ms=self.now_ms))
        assert got.known == self.model.tally(worker_id, tally, now_ms=self.now_ms)
        self.pair.agree()
        return got.known

    @rule(die=DICE, limit=st.sampled_from([1, 2, MAX_RECLAIMED]), late=st.booleans(), right=st.booleans())
    def reclaim(self, die: int, limit: int, *, late: bool, right: bool) -> None:
        chance = self.cast(die)
        worker_id = chance.choice([*sorted(self.model.workers), "nobody"])
        end_ms = self.model.workers.get(worker_id, 0)
        if late:
            self.now_ms = max(self.now_ms, end_ms)
        seen_ms = end_ms if right else chance.choice([0, end_ms, end_ms + 1])
        half_way = self._reclaim(worker_id, seen_ms, limit) is Reclaimed.MORE
        for hand in [hand for hand in self.hands if hand.worker_id == worker_id and half_way]:
            self._meanwhile(hand, chance.choice(["goes", "works", "renews", "nothing"]))

    def _meanwhile(self, hand: Hand, what: str) -> None:
        """A worker that is half reclaimed has not noticed."""
        if what == "goes":
            self._leaves(hand)
            self._retire(hand)
        elif what == "works":
            self._exchange(hand, [], limit=10, suspects=True, lose="")
        elif what == "renews" and not self._renew(hand):
            self.hands.remove(hand)

    @rule(die=DICE, limit=st.sampled_from([1, 2, MAX_RECLAIMED]))
    def a_worker_is_reclaimed_whole(self, die: int, limit: int) -> None:
        """... and may not have noticed."""
        if self.model.workers:
            self._whole(self.cast(die).choice(sorted(self.model.workers)), limit)

    @rule(queues=ORDERS, claims=st.integers(1, 3))
    def a_new_worker_crashes_at_once(self, queues: list[str], claims: int) -> None:
        hand = self._comes(queues)
        self._exchange(hand, [], limit=claims, suspects=True, lose="")
        self._leaves(hand)
        self._whole(hand.worker_id, MAX_RECLAIMED)

    def _whole(self, worker_id: str, limit: int) -> None:
        self.now_ms = max(self.now_ms, self.model.workers[worker_id])
        while self._reclaim(worker_id, self.model.workers[worker_id], limit) is Reclaimed.MORE:
            pass
        assert worker_id not in self.model.workers

    def _reclaim(self, worker_id: str, seen_ms: int, limit: int) -> Reclaimed:
        self.on_the_way.append(partial(self._take_back, worker_id, seen_ms, limit))
        return self._take_back(worker_id, seen_ms, limit)

    def _take_back(self, worker_id: str, seen_ms: int, limit: int) -> Reclaimed:
        self.before()
        got = self.run(self.store.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms))
        seen = self.pair.look()
        assert got is self.model.reclaim(worker_id, seen_ms=seen_ms, limit=limit, now_ms=self.now_ms, census=seen)
        self.pair.agree(seen)
        return got

    @rule(worker_id=st.sampled_from(["w1", "w2", "w3"]), limit=st.sampled_from([1, 2, MAX_PROMOTED]), lose=LOSSES)
    def promote(self, worker_id: str, limit: int, lose: str) -> None:
        self.send(partial(self._promote, worker_id, limit), lose=lose)

    def _promote(self, worker_id: str, limit: int) -> None:
        self.before()
        got = self.run(self.store.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms))
        wanted = self.model.promote(worker_id, limit=limit, lease_ms=5_000, now_ms=self.now_ms)
        assert (got.leader, got.moved, got.wait_us) == (wanted.leader, wanted.moved, wanted.wait_us)
        assert got.garbage or not wanted.garbage
        self.pair.agree()
