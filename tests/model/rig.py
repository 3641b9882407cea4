"""A store and the model side by side: each verb is given to both, and both must say and hold the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from aiotq.store import connect
from tests.model import census
from tests.model.model import Model
from tests.model.state import POLLER

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiotq.store.contract import Exchanged, Store
    from tests.model.census import Census

NAMESPACE = "model"
PREFIX = "{model}:"
WIPE = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end"
T = TypeVar("T")


class Rig:
    """The real store, for all examples of a run: one loop, one connection."""

    def __init__(self, url: str) -> None:
        self.store: Store = connect(url, namespace=NAMESPACE, connect_timeout_s=5)
        self.raw: Any = redis.Redis.from_url(url)
        self._loop = asyncio.new_event_loop()
        self.run(self.store.open())

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """One verb of the store, from plain Python."""
        return self._loop.run_until_complete(verb)

    def wipe(self) -> None:
        """Remove every key."""
        self.raw.eval(WIPE, 0, census.pattern(PREFIX))

    def close(self) -> None:
        """Leave nothing."""
        self.wipe()
        self.raw.close()
        self.run(self.store.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _never_is(name: str) -> bytes:
    """A type that this key never has."""
    return b"string" if name.startswith(("line:", "wake:")) or name == "ended" else b"list"


def _numbers(found: dict[str, bytes]) -> dict[str, int]:
    return {name: int(number) for name, number in found.items()}


class Pair:
    """The real store and its model, at the same point of one life."""

    def __init__(self, rig: Rig) -> None:
        self.store, self.raw, self.run = rig.store, rig.raw, rig.run
        self.model = Model()
        self.tokens: set[str] = set()
        self.spoiled: set[str] = set()  # keys that were made of the wrong type
        self.fence = 0
        self.folded: set[int] = set()  # minutes that were counted in their hours
        self.hours: dict[int, Counter[str]] = {}
        rig.wipe()

    def look(self) -> Census:
        """All keys."""
        return census.take(self.raw, PREFIX)

    def key(self, name: str) -> str:
        """A key's full name."""
        return PREFIX + name

    def spoil(self, name: str) -> None:
        """Put something in a key's place that is of a type which it never has."""
        if _never_is(name) == b"string":
            self.raw.set(self.key(name), b"spoiled")
        else:
            self.raw.rpush(self.key(name), b"spoiled")
        self.spoiled.add(name)

    def mend(self, *names: str) -> None:
        """Remove what was spoiled and not yet put aside, since a test is about to write there by hand."""
        for name in self.spoiled & set(names):
            if self.raw.type(self.key(name)) == _never_is(name):
                self.raw.delete(self.key(name))

    def take_tokens(self) -> None:
        """What idle workers would do."""
        if self.tokens:
            self.raw.delete(*[self.key(f"wake:{queue}") for queue in self.tokens])
        self.tokens = set()

    def agree(self, seen: Census | None = None) -> None:
        """Compare every key with the model."""
        seen = seen or self.look()
        model = self.model
        if seen.poller is None:
            model.poller = None  # its TTL is in real time
        complaints = census.complaints(seen)
        assert not complaints, complaints
        assert seen.records == model.records
        assert seen.lines == model.lines
        assert seen.schedule == model.schedule
        assert seen.active == {name: hands for name, hands in model.active.items() if hands}
        assert seen.workers == model.workers
        assert seen.lost == model.lost
        assert seen.cancels == set(model.cancels)
        assert seen.paused == model.paused
        assert {line.split(":")[0] for line in seen.lines} <= seen.queues
        assert (seen.poller or b"").decode() == " ".join(str(part) for part in model.poller or ())
        assert seen.ended == model.ended
        self._counters_agree(seen)
        self._dead_agree(seen)
        self._tokens_agree(set(seen.wake))

    def _counters_agree(self, seen: Census) -> None:
        minutes = {int(name[2:]): found for name, found in seen.stats.items() if name.startswith("m:")}
        counted = {
            minute: {name: int(number) for name, number in found.items() if name != "folded"}
            for minute, found in minutes.items()
        }
        assert counted == self.model.minutes, (counted, self.model.minutes)
        for minute in {minute for minute, found in minutes.items() if "folded" in found} - self.folded:
            self.folded.add(minute)  # as it is now: what comes later, since the clock has stepped back, is not added
            self.hours.setdefault(minute // 60, Counter()).update(self.model.minutes[minute])
        for period, length in (("h", 1), ("d", 24)):
            wanted: dict[str, Counter[str]] = {}
            for hour, found in self.hours.items():
                wanted.setdefault(f"{period}:{hour // length}", Counter()).update(found)
            got = {name: _numbers(found) for name, found in seen.stats.items() if name.startswith(f"{period}:")}
            assert got == wanted

    def _dead_agree(self, seen: Census) -> None:
        letters = {name: died_ms for name, died_ms in seen.dead.items() if not name.startswith("!")}
        trimmed = {name for name in self.model.dead if name not in letters}
        assert not trimmed & set(seen.records), "a dead letter that can still be read was trimmed"
        for name in trimmed:
            del self.model.dead[name]
        assert letters == self.model.dead
        aside = [name for name in seen.dead if name.startswith("!")]
        assert all(any(name.endswith(waste) for name in aside) for waste in self.model.waste)
        assert all(any(name.endswith(waste) for waste in self.model.waste) for name in aside)

    def _tokens_agree(self, tokens: set[str]) -> None:
        model = self.model
        missing = model.must_wake - tokens
        assert not missing, f"no token for {missing}; pushed: {model.pushed}, lines: {model.lines}"
        surplus = tokens - self.tokens - model.can_wake
        assert not surplus, f"tokens for {surplus} wake workers in vain; lines: {model.lines}"
        assert self.tokens <= tokens
        self.tokens = tokens

    def same_exchange(self, got: Exchanged, wanted: Exchanged, *, doubt: bool) -> None:
        """Compare two replies; the order of what was in doubt is open, and so is by how much the fence grows."""
        assert got.alive == wanted.alive
        if not got.alive:
            return
        assert list(got.stored) == wanted.stored
        if doubt:
            assert sorted(got.claimed, key=lambda one: one.ticket) == wanted.claimed
        else:
            assert list(got.claimed) == wanted.claimed
        assert set(got.gone) == set(wanted.gone)
        assert (got.active, got.dropped, got.now_ms) == (wanted.active, wanted.dropped, wanted.now_ms)
        assert got.next_due_us == wanted.next_due_us
        # Who claims a job that is already marked learns it by the claim.
        assert set(wanted.cancels) <= set(got.cancels) <= set(self.model.cancels)
        garbage = {key.removeprefix(PREFIX) for key in got.garbage}
        assert set(wanted.garbage) <= garbage <= set(wanted.garbage) | self.spoiled
        if got.claimed:
            assert got.fence > self.fence, "the claim number has to grow"
            assert got.fence >= got.now_ms * 1000, "or it might fall back once it is lost"
            self.fence = got.fence


__all__ = ["POLLER", "Pair", "Rig"]
