"""The one reader behind all viewers: what is shown live is read once for all of them, and only while somebody looks.

There is no task that reads. Whoever needs a topic that is no longer fresh reads it, and all others who want it in that
moment wait for this one read: so nothing runs when nobody looks, and nothing has to be stopped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiotq.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_TOPICS = 256
NEVER = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read last. value: None if nothing ever was; away: why the last read failed, if it did."""

    value: Any = None
    away: StoreError | None = None
    at: float = NEVER  # the loop's time
    number: int = 0  # one more with each read that came to something

    def known(self) -> Any:
        """What was read last. Raises StoreError if nothing ever was."""
        if self.value is None and self.away is not None:
            raise self.away
        return self.value


@dataclass(slots=True)
class _Topic:
    seen: Seen = field(default_factory=Seen)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Hub:
    """Topics by key, each read by one at a time."""

    def __init__(self) -> None:
        self._topics: OrderedDict[str, _Topic] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None  # whose the locks and the event are
        self._closing = asyncio.Event()
        self._acts = 0
        self.closed = False
        self.reads = 0  # so far, of all topics

    async def get(
        self, key: str, read: Callable[[], Awaitable[Any]], *, fresh_s: float, away_s: float | None = None
    ) -> Seen:
        """What is known under the key, no older than `fresh_s`; raises nothing of the store's: see `.away`.

        While the server is away, only one asks it; all others get what was last known at once. So does whoever would
        not wait for the next try: that the server was away is news to him for `away_s`.
        """
        topic = self._topic(key)
        if topic.seen.away is not None and (topic.lock.locked() or self._age(topic.seen) < (away_s or 0)):
            return topic.seen
        async with topic.lock:
            if self._age(topic.seen) < fresh_s:
                return topic.seen
            acts, seen = self._acts, await self._read(topic.seen, read)
            # What was read while something was done may be from before it.
            topic.seen = seen if acts == self._acts else replace(seen, at=NEVER)
            return seen

    def away(self, key: str, *, within_s: float) -> StoreError | None:
        """Why the last read failed, if it did, and not long ago."""
        topic = self._topics.get(key)
        return None if topic is None or self._age(topic.seen) > within_s else topic.seen.away

    @staticmethod
    def _age(seen: Seen) -> float:
        return asyncio.get_running_loop().time() - seen.at

    def last(self, key: str) -> Any:
        """What was read last, however long ago; None if nothing was."""
        topic = self._topics.get(key)
        return None if topic is None else topic.seen.value

    def forget(self) -> None:
        """Something has been done: what is known may be no longer so."""
        self._acts += 1
        for topic in self._topics.values():
            topic.seen = replace(topic.seen, at=NEVER)

    def close(self) -> None:
        """All streams shall end: the process stops. Called in the loop's thread."""
        self.closed = True
        self._closing.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until it closes."""
        self._bind()
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    async def _read(self, before: Seen, read: Callable[[], Awaitable[Any]]) -> Seen:
        loop = asyncio.get_running_loop()
        self.reads += 1
        try:
            value = await read()
        except StoreError as error:
            return Seen(value=before.value, away=error, at=loop.time(), number=before.number)
        return Seen(value=value, at=loop.time(), number=before.number + 1)

    def _bind(self) -> None:
        """Begin anew on another event loop: tests and notebooks may have several, one after the other."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._closing = loop, asyncio.Event()
            self._topics.clear()
            if self.closed:
                self._closing.set()

    def _topic(self, key: str) -> _Topic:
        self._bind()
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic()
            while len(self._topics) > MAX_TOPICS:
                self._topics.popitem(last=False)
        self._topics.move_to_end(key)
        return topic
