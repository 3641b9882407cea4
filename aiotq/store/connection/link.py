"""From a connected connection of redis-py to one that is written to at once and answers by a callback.

redis-py connects: address, TLS, authentication are its business. Then its transport gets this protocol, which parses
what arrives with hiredis and hands on one reply after the other: a command costs no task, no stream and no wake-up of
its own (half the latency and a third of the CPU time of `read_response`, measured).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

import hiredis
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

_Reader: Any = hiredis.Reader  # its own types leave out `replyError`


class Link(Protocol):
    """A connection in use. `replied` gets each reply in order, `lost` once what ended it, unless `drop` did."""

    def write(self, command: bytes) -> None:
        """Send a packed command."""
        ...

    def write_all(self, commands: list[bytes]) -> None:
        """Send them in one write."""
        ...

    def drop(self) -> None:
        """End it now."""
        ...


def linked(
    connection: AbstractConnection, *, replied: Callable[[Any], None], lost: Callable[[Exception], None]
) -> Link:
    """Take a connected connection over."""
    transport: Any = getattr(getattr(connection, "_writer", None), "transport", None)
    if hasattr(transport, "set_protocol"):  # asyncio's or uvloop's, whose classes are no asyncio.Transport
        return SocketLink(connection, transport, replied=replied, lost=lost)
    return QueueLink(connection, replied=replied, lost=lost)


def error_reply(text: str) -> RedisError:
    """An error reply, with its code at its beginning; `answers.code` tells what it means."""
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class SocketLink(asyncio.Protocol):
    """Of a socket."""

    def __init__(
        self,
        connection: AbstractConnection,
        transport: asyncio.Transport,
        *,
        replied: Callable[[Any], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._connection = connection  # kept: its streams would end the transport as they go
        self._transport, self._replied, self._lost = transport, replied, lost
        self._parser = _Reader(protocolError=InvalidResponse, replyError=error_reply)
        self._over = False
        transport.set_protocol(self)
        reader = getattr(connection, "_reader", None)
        if transport.is_closing() or (reader is not None and reader.at_eof()):  # nobody will tell this protocol
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
        else:
            transport.resume_reading()

    def write(self, command: bytes) -> None:
        """Send a packed command. If the transport has broken it is lost: asyncio would log each of many."""
        if not self._transport.is_closing():
            self._transport.write(command)

    def write_all(self, commands: list[bytes]) -> None:
        """Send them in one write."""
        self.write(b"".join(commands))

    def data_received(self, data: bytes) -> None:
        """Parse; a reply each."""
        parser, replied = self._parser, self._replied
        parser.feed(data)
        try:
            while (reply := parser.gets()) is not False:
                replied(reply)
        except RedisError as error:  # it is no Redis that answers
            self.drop()
            self._lost(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """It broke, or `drop` has ended it."""
        if not self._over:
            self._over = True
            self._transport.abort()  # no harm if it has ended
            self._lost(exc or ConnectionResetError("the server closed the connection"))

    def drop(self) -> None:
        """End it now."""
        self._over = True
        self._transport.abort()


class QueueLink:
    """Of fakeredis, which has no socket: an owner task sends, and reads the replies in their order."""

    def __init__(
        self, connection: AbstractConnection, *, replied: Callable[[Any], None], lost: Callable[[Exception], None]
    ) -> None:
        self._connection, self._replied, self._lost = connection, replied, lost
        self._commands: deque[bytes] = deque()
        self._owner: asyncio.Task[None] | None = None
        self._over = False

    def write(self, command: bytes) -> None:
        """Send a packed command."""
        self._commands.append(command)
        if self._owner is None:
            self._owner = asyncio.get_running_loop().create_task(self._serve())

    def write_all(self, commands: list[bytes]) -> None:
        """Send them, one after the other."""
        for command in commands:
            self.write(command)

    def drop(self) -> None:
        """End it now."""
        self._over = True
        if self._owner is not None:
            self._owner.cancel()

    async def _serve(self) -> None:
        connection = cast("Any", self._connection)
        try:
            while self._commands:
                await connection.send_packed_command([self._commands.popleft()], check_health=False)
                try:
                    reply = await connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    reply = error
                self._replied(reply)
        except Exception as error:  # noqa: BLE001  whatever it was, the connection is out of step
            if not self._over:
                self._over = True
                self._lost(error)
        finally:
            self._owner = None
            if self._over:
                await connection.disconnect(nowait=True)
