"""One connection and its one owner.

Callers hand over a command and get a future; the owner, an asyncio task that lives while there is something to do,
sends what has gathered in one write and reads the replies in their order. So a command in flight is never cancelled: a
caller that goes away only drops its future, and the connection stays in step (redis-py #2665, CVE-2023-28859).

A wire never repeats a command. When a connection breaks, each call learns whether it had been sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aiotq.store.answers import RECONNECT, code
from aiotq.store.words import cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

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

    def __init__(self, dial: Callable[[], Awaitable[AbstractConnection]], *, limit_s: float) -> None:
        """dial: makes a new connected connection. limit_s: how long a call may take, connecting included."""
        self._dial = dial
        self._limit_s = limit_s
        self._connection: AbstractConnection | None = None
        self._waiting: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()
        self._flying: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()
        self._owner: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._late = False  # seen at the last look
        self._overdue = False
        self._outdated = False  # what answers is no primary (any more); the next connection may reach the one that is
        self._closed = False
        self.epoch = 0  # grows with each new connection

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command; the future has its reply, or a ResponseError, or WireBroken."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            future.set_exception(WireBroken("the store is closed", sent=False))
            return future
        deadline = loop.time() + self._limit_s
        self._waiting.append((deadline, _pack(command), future))
        if self._watch is None:
            self._watch = loop.call_at(deadline, self._look)
        if self._owner is None:
            self._begin()
        return future

    async def close(self) -> None:
        """Drop the connection. Calls in flight fail with WireBroken."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        owner = self._owner
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])
        self._fail_all("the store was closed")
        await self._drop()

    # --- the owner ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        # The one owner of this connection; `close` waits for it.
        self._owner = asyncio.get_running_loop().create_task(self._serve())
        self._owner.add_done_callback(self._ended)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._round()
        except asyncio.CancelledError:
            await self._drop()
            raise

    def _ended(self, owner: asyncio.Task[None]) -> None:
        """The owner has ended. Not said by itself: one that is cancelled before its first step says nothing."""
        overdue, self._overdue, self._owner = self._overdue, False, None
        if owner.cancelled() and not overdue:  # the loop ends, or `close`
            self._fail_all("the event loop has ended")
        elif self._waiting and not self._closed:
            self._begin()

    async def _round(self) -> None:
        """Connect if need be, send what waits, read the replies."""
        try:
            if self._connection is None:
                self._connection = await self._dial()
                self.epoch += 1
        except Exception as error:  # noqa: BLE001
            # Whatever dialling raised is each waiting caller's answer: nothing of theirs was sent.
            self._fail(self._waiting, error if not isinstance(error, BROKEN) else None, cause(str(error)), sent=False)
            return
        connection, flying = self._connection, self._flying
        while self._waiting:
            entry = self._waiting.popleft()
            if not entry[2].done():  # an unsent call of a caller that went away is withdrawn
                flying.append(entry)
        if not flying:
            return
        try:
            await connection.send_packed_command([entry[1] for entry in flying], check_health=False)
            while flying:
                await self._read_one(connection)
            if self._outdated:
                await self._drop()
        except Exception as error:  # noqa: BLE001
            # Whatever it was, the connection is out of step. An answer that is no Redis's is told as it is.
            told = error if isinstance(error, RedisError) and not isinstance(error, BROKEN) else None
            self._fail(flying, told, cause(str(error)) or type(error).__name__, sent=True)
            await self._drop()

    async def _read_one(self, connection: Any) -> None:
        try:
            reply = await connection.read_response(disable_decoding=True)
        except (ResponseError, RedisConnectionError) as error:
            # An error reply. redis-py raises some (LOADING) as a connection error, having hung up.
            if not isinstance(error, ResponseError) and type(error) is RedisConnectionError:
                raise
            future = self._flying.popleft()[2]
            if not future.done():
                future.set_exception(error)
            if not isinstance(error, ResponseError):
                raise
            self._outdated |= code(error) in RECONNECT
            return
        future = self._flying.popleft()[2]
        if not future.done():
            future.set_result(reply)

    def _look(self) -> None:
        """At the earliest deadline: has somebody waited too long? One lazy timer for all calls."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watch = None
        late = bool(self._flying and self._flying[0][0] <= now)
        late = late or bool(self._waiting and self._waiting[0][0] <= now)
        if late and not self._late:
            # Somebody may have blocked the loop, and the answer been there for long: the owner gets to read it first.
            self._late = True
            self._watch = loop.call_later(LAST_LOOK_S, self._look)
            return
        self._late = False
        if late:
            what = f"no answer after {self._limit_s:g} s"
            self._fail(self._flying, None, what, sent=True)
            self._fail(self._waiting, None, what, sent=False, until=now)
            if self._owner is not None:
                self._overdue = True
                self._owner.cancel()
        deadlines = [queue[0][0] for queue in (self._flying, self._waiting) if queue]
        if deadlines:
            self._watch = loop.call_at(min(deadlines), self._look)

    def _fail(
        self,
        calls: deque[tuple[float, bytes, asyncio.Future[Any]]],
        error: Exception | None,
        cause: str,
        *,
        sent: bool,
        until: float | None = None,
    ) -> None:
        while calls and (until is None or calls[0][0] <= until):
            future = calls.popleft()[2]
            if not future.done():
                future.set_exception(error or WireBroken(cause, sent=sent))

    def _fail_all(self, cause: str) -> None:
        self._fail(self._flying, None, cause, sent=True)
        self._fail(self._waiting, None, cause, sent=False)

    async def _drop(self) -> None:
        connection, self._connection, self._outdated = self._connection, None, False
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                return  # it is gone either way
