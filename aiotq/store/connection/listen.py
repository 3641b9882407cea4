"""The one connection of a loop that listens: to ends of jobs, and to what a worker shall cancel.

Its owner lives while somebody is subscribed, and connects again for as long as it takes. What is published may be
missed, so a subscriber is told after each (re)connect to look for itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, ResponseError

from aiotq.errors import StoreError, StoreUnavailable, StoreUnusable
from aiotq.store.answers import told
from aiotq.store.connection.wire import BROKEN
from aiotq.store.words import cause

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from aiotq.store.connection.dial import Dial

PING_EVERY_S = 10.0  # a connection that answers nothing for as long again is dead
BACKOFF_S, BACKOFF_CAP_S = 0.05, 1.0
MESSAGE = 3  # parts of one: kind, channel, payload or count


class Subscription:
    """One listener of one channel. `next` gives None ("look for yourself") once subscribed, then what is published."""

    __slots__ = ("channel", "news", "waiter")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.news: deque[bytes | StoreError | None] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def put(self, news: bytes | StoreError | None) -> None:
        """Hand news to the listener."""
        self.news.append(news)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def next(self) -> bytes | None:
        """The next news. Raises StoreError if the server can't be reached or used at all."""
        return (await self.next_of(self))[1]

    @staticmethod
    async def next_of(*subscriptions: Subscription) -> tuple[int, bytes | None]:
        """The next news of several, and of which: of those that have some, the one named first. Raises as `next`."""
        while True:
            for place, subscription in enumerate(subscriptions):
                if subscription.news:
                    news = subscription.news.popleft()
                    if isinstance(news, StoreError):
                        raise news
                    return place, news
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            for subscription in subscriptions:
                subscription.waiter = waiter
            await waiter


class Listener:
    """The owner of the listening connection. Used from one event loop."""

    def __init__(self, dial: Dial, *, url: str, limit_s: float) -> None:
        """limit_s: how long the first connection may take before subscribers are told."""
        self._dial, self._url, self._limit_s = dial, url, limit_s
        self._channels: dict[str, list[Subscription]] = {}
        self._connection: AbstractConnection | None = None
        self._owner: asyncio.Task[None] | None = None
        self._acks = 0  # answers to (un)subscribe that are still to come
        self._connected_once = False
        self._backoff_s = BACKOFF_S

    def subscribe(self, channel: str) -> Subscription:
        """Listen to a channel."""
        subscription = Subscription(channel)
        known = channel in self._channels
        self._channels.setdefault(channel, []).append(subscription)
        if self._owner is None:
            # The one owner of this connection; it ends with the last subscription, or with `close`.
            self._owner = asyncio.get_running_loop().create_task(self._listen())
        elif self._connection is not None:
            if known:
                subscription.put(None)
            else:
                self._say("SUBSCRIBE", channel)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Listen no more."""
        listeners = self._channels.get(subscription.channel, [])
        if subscription in listeners:
            listeners.remove(subscription)
        if (
            not listeners
            and self._channels.pop(subscription.channel, None) is not None
            and self._connection is not None
        ):
            self._say("UNSUBSCRIBE", subscription.channel)

    def move(self) -> None:
        """Connect anew: the server has become a replica, which may hear nothing, and would never say so."""
        transport = getattr(getattr(self._connection, "_writer", None), "transport", None)
        if transport is not None:
            transport.abort()  # its owner reads the end of it

    async def close(self) -> None:
        """Drop the connection; whoever still listens is told."""
        owner = self._owner
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])
        self._tell_all(StoreUnavailable("listen: the store was closed", verb="listen", url=self._url, sent=False))
        self._channels.clear()
        await self._drop()

    # --- the owner ----------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        try:
            while self._channels:
                try:
                    await self._connect()
                    self._connected_once = True
                    await self._read()
                    since = loop.time()
                except (*BROKEN, RedisError, StoreError) as error:
                    await self._drop()
                    # What will not mend itself, as this user's rights, is for the subscribers to know.
                    said = self._told(error)
                    hopeless = isinstance(said, StoreUnusable)
                    if hopeless or (not self._connected_once and loop.time() - since >= self._limit_s):
                        self._tell_all(said)
                    backoff_s, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, BACKOFF_CAP_S)
                    await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
        except Exception as error:
            # A mistake of ours. Whoever listens would wait for ever, and the connection may be out of step.
            self._tell_all(self._mistaken(error))
            await self._drop()
            raise
        finally:
            self._owner = None

    def _mistaken(self, error: Exception) -> StoreUnavailable:
        # Not what it says, which may be secret.
        said = f"listen: {type(error).__name__}, a mistake in aiotq; see its traceback in the log, and report it"
        return StoreUnavailable(said, verb="listen", url=self._url, sent=False)

    def _told(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, ResponseError):
            return told(error, verb="listen", url=self._url)
        return StoreUnavailable(
            f"listen: no answer from {self._url} ({cause(str(error))}); start the server, or correct the URL",
            verb="listen",
            url=self._url,
            sent=False,
        )

    async def _connect(self) -> None:
        if self._connection is not None:
            self._connection_says(*self._channels)
            return
        connection = await self._dial()
        self._connection, self._acks = connection, 0
        self._connection_says(*self._channels)

    def _connection_says(self, *channels: str) -> None:
        if channels:
            self._say("SUBSCRIBE", *channels)

    def _say(self, command: str, *channels: str) -> None:
        """Write without waiting; the owner reads the answers."""
        connection = self._connection
        writer = getattr(connection, "_writer", None)
        transport = getattr(writer, "transport", None)  # fakeredis has none
        if connection is None or writer is None or (transport is not None and transport.is_closing()):
            return  # it broke just now; the owner subscribes anew
        writer.writelines(connection.pack_command(command, *channels))
        if command in ("SUBSCRIBE", "UNSUBSCRIBE"):
            self._acks += len(channels)

    async def _read(self) -> None:
        """Read until nobody listens any more. Raises when the connection breaks."""
        silent = 0
        while self._channels or self._acks:
            connection: Any = self._connection
            if connection is None:
                return
            message = await connection.read_response(
                disable_decoding=True, timeout=PING_EVERY_S, disconnect_on_error=False
            )
            if message is None:
                silent += 1
                if silent > 1:
                    raise ConnectionResetError("the listening connection answers nothing")
                self._say("PING")
                continue
            silent = 0
            self._handle(message)

    def _handle(self, message: Any) -> None:
        if not isinstance(message, list) or len(cast("list[Any]", message)) < MESSAGE:
            return  # the answer to a PING
        kind, channel, payload = cast("list[Any]", message)
        if kind in (b"subscribe", b"unsubscribe"):
            self._acks -= 1
        if kind == b"subscribe":
            payload, self._backoff_s = None, BACKOFF_S
        elif kind != b"message":
            return
        for subscription in self._channels.get(channel.decode(), []):
            subscription.put(payload)

    def _tell_all(self, error: StoreError) -> None:
        for listeners in self._channels.values():
            for subscription in listeners:
                subscription.put(error)

    async def _drop(self) -> None:
        connection, self._connection, self._acks = self._connection, None, 0
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                return
