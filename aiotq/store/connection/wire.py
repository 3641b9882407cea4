"""One connection and its one owner.

Callers hand over a command and get a future; the wire writes it at once, and sets the futures in the order in which the
replies come. So a command in flight is never cancelled: a caller that goes away only drops its future, and the
connection stays in step (redis-py #2665, CVE-2023-28859).

A wire never repeats a command. When a connection breaks, each call learns whether it had been sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aiotq.store.answers import LEAVE, code
from aiotq.store.connection.link import linked
from aiotq.store.words import cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.connection.link import Link

_hiredis: Any = hiredis  # its own types leave out what pack_command takes
_pack: Callable[[tuple[str | bytes | int, ...]], bytes] = _hiredis.pack_command
BROKEN = (RedisConnectionError, RedisTimeoutError, OSError, EOFError)
LAST_LOOK_S = 0.02


class WireBroken(Exception):
    """The connection broke, or the answer did not come in time. `sent`: False if nothing had been sent."""

    def __init__(self, cause: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(cause)


class Wire:
    """The owner of one connection. Used from one event loop."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[AbstractConnection]],
        *,
        limit_s: float,
        left: Callable[[], None] | None = None,
    ) -> None:
        """dial: makes a new connected connection. limit_s: how long a call may take, connecting included.
        left: called when a server that answers is left for another one.
        """
        self._dial, self._left = dial, left
        self._limit_s = limit_s
        self._link: Link | None = None  # None: not connected, or what answers is to be left
        self._old: Link | None = None  # what answers is no primary (any more): left once its replies are in
        self._waiting: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()  # for a connection
        self._flying: deque[tuple[float, asyncio.Future[Any]]] = deque()  # for their replies
        self._dialling: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._late = False  # seen at the last look
        self._overdue = False  # dialling took too long
        self._closed = False
        self.epoch = 0  # grows with each new connection
        self.written = 0  # grows with each command that is sent

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command; the future has its reply, or a RedisError, or WireBroken."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            future.set_exception(WireBroken("the store is closed", sent=False))
            return future
        deadline = loop.time() + self._limit_s
        packed = _pack(command)
        if self._link is not None:
            self._flying.append((deadline, future))
            self.written += 1
            self._link.write(packed)
        else:
            self._waiting.append((deadline, packed, future))
            self._connect()
        if self._watch is None:
            self._watch = loop.call_at(deadline, self._look)
        return future

    def calls(self, *commands: tuple[str | bytes | int, ...]) -> list[asyncio.Future[Any]]:
        """Send commands in one write, so that hardly anybody's comes between them; a future each."""
        link, futures = self._link, list[asyncio.Future[Any]]()
        if link is None:
            return [self.call(*command) for command in commands]  # they go out together once it is connected
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limit_s
        for _ in commands:
            futures.append(loop.create_future())
            self._flying.append((deadline, futures[-1]))
        self.written += len(commands)
        link.write_all([_pack(command) for command in commands])
        if self._watch is None:
            self._watch = loop.call_at(deadline, self._look)
        return futures

    async def close(self) -> None:
        """Drop the connection. Calls in flight fail with WireBroken."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._drop()  # all this before an await, which may be cancelled
        self._fail(sent="the store was closed", unsent="the store was closed")
        if self._dialling is not None:
            dialling = self._dialling
            dialling.cancel()
            await asyncio.wait([dialling])
            self._drop()  # it may just have connected

    # --- connecting ---------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._dialling is None and self._old is None:
            # Owned by this wire; `close` waits for it.
            self._dialling = asyncio.get_running_loop().create_task(self._reach())
            self._dialling.add_done_callback(self._reached)

    async def _reach(self) -> None:
        """Connect, and send what has waited for it."""
        try:
            connection = await self._dial()
        except Exception as error:  # noqa: BLE001
            # Whatever dialling raised is each waiting caller's answer: nothing of theirs was sent.
            told = None if isinstance(error, BROKEN) else error
            while self._waiting:
                _tell(self._waiting.popleft()[2], told or WireBroken(cause(str(error)), sent=False))
            return
        self.epoch += 1
        self._link = link = linked(connection, replied=self._replied, lost=self._lost)
        together: list[bytes] = []
        while self._waiting:
            deadline, packed, future = self._waiting.popleft()
            if not future.done():  # an unsent call of a caller that went away is withdrawn
                self._flying.append((deadline, future))
                together.append(packed)
        if together:
            self.written += len(together)
            link.write_all(together)

    def _reached(self, dialling: asyncio.Task[None]) -> None:
        """Dialling has ended. Not said by itself: a task that is cancelled before its first step says nothing."""
        overdue, self._overdue, self._dialling = self._overdue, False, None
        if dialling.cancelled() and not overdue and not self._closed:  # the loop ends
            self._fail(sent="the event loop has ended", unsent="the event loop has ended")
        elif self._waiting and not self._closed and self._link is None:
            self._connect()

    # --- replies ------------------------------------------------------------------------------------------------

    def _replied(self, reply: Any) -> None:
        """The next reply. Cost: one future set, no task woken but the caller's."""
        if not self._flying:
            return  # nobody asked: a message that no command of ours brings
        future = self._flying.popleft()[1]
        if isinstance(reply, RedisError):
            _tell(future, reply)
            if code(reply) in LEAVE:
                self._leave()
        elif not future.done():
            future.set_result(reply)
        if self._old is not None and not self._flying:
            self._drop()
            if self._waiting:
                self._connect()

    def _leave(self) -> None:
        """Send nothing more there; the next connection may reach one that can serve."""
        if self._link is not None:
            self._old, self._link = self._link, None
            if self._left is not None:
                self._left()

    def _lost(self, error: Exception) -> None:
        """The connection broke; an answer that is no Redis's is told as it is."""
        self._link = self._old = None
        told = error if isinstance(error, RedisError) and not isinstance(error, BROKEN) else None
        said = cause(str(error)) or type(error).__name__
        while self._flying:
            _tell(self._flying.popleft()[1], told or WireBroken(said, sent=True))
        if self._waiting and not self._closed:
            self._connect()

    # --- time ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """At the earliest deadline: has somebody waited too long? One lazy timer for all calls."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watch = None
        late = bool(self._flying and self._flying[0][0] <= now)
        late = late or bool(self._waiting and self._waiting[0][0] <= now)
        if late and not self._late:
            # Somebody may have blocked the loop, and the answer been there for long: it is read first.
            self._late = True
            self._watch = loop.call_later(LAST_LOOK_S, self._look)
            return
        if late:
            self._give_up(now)
        self._late = False
        deadlines = [queue[0][0] for queue in (self._flying, self._waiting) if queue]
        if deadlines:
            self._watch = loop.call_at(min(deadlines), self._look)

    def _give_up(self, now: float) -> None:
        """Too late: what was sent has no answer, what waits since then was never sent, and the connection goes."""
        said = f"no answer after {self._limit_s:g} s"
        self._drop()
        while self._flying:
            _tell(self._flying.popleft()[1], WireBroken(said, sent=True))
        while self._waiting and self._waiting[0][0] <= now:
            _tell(self._waiting.popleft()[2], WireBroken(said, sent=False))
        if self._dialling is not None:
            self._overdue = True
            self._dialling.cancel()  # `_reached` begins anew for those that still wait
        elif self._waiting:
            self._connect()

    def _drop(self) -> None:
        link, self._link, self._old = self._link or self._old, None, None
        if link is not None:
            link.drop()

    def _fail(self, *, sent: str, unsent: str) -> None:
        while self._flying:
            _tell(self._flying.popleft()[1], WireBroken(sent, sent=True))
        while self._waiting:
            _tell(self._waiting.popleft()[2], WireBroken(unsent, sent=False))


def _tell(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
