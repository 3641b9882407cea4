"""From the options of a URL to a connected connection of redis-py.

redis-py's own retries are off: it would send a script again whose reply was lost, without a word.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aiotq.errors import StoreUnusable
from aiotq.store.answers import code, told
from aiotq.store.connection import tls
from aiotq.store.connection.wire import BROKEN
from aiotq.store.url import HIDDEN

if TYPE_CHECKING:
    import socket

GREETINGS = 4  # see tls.greet
LONGEST_WORD = 1024  # bytes
EAR = "_aiotq_ear"  # a connection's attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to connect to one server."""

    kind: type[AbstractConnection]
    options: Mapping[str, Any] = field(repr=False)  # of redis-py's connection; a password is among them
    url: str  # the one that the user gave, without its passwords
    limit_s: float  # what connecting may take, TLS and log-in included
    whom: str = ""  # which server, where the URL does not say it

    def to(self, host: str, port: int, *, whom: str) -> Route:
        """The same to another server."""
        return replace(self, options={**self.options, "host": host, "port": port}, whom=whom)

    def made(self) -> AbstractConnection:
        """An unconnected connection. Raises TypeError, ValueError or RedisError for options that can't be right."""
        settings: dict[str, Any] = {
            **self.options,
            "redis_connect_func": tls.greet if issubclass(self.kind, SSLConnection) else None,
            "socket_timeout": None,  # the wire's own limit covers a command
            "socket_connect_timeout": self.limit_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        return _quiet(self.kind)(**settings)

    async def connected(self) -> AbstractConnection:
        """Connect.

        Raises an error of redis-py where the server is away, StoreRefused while it loads, StoreUnusable for what will
        not mend itself. What it raises has no other error behind it, and no password in its text.
        """
        for number in range(1, GREETINGS + 1):
            try:
                return await self._connected()
            except tls.HungUp:
                if number == GREETINGS:
                    break
        raise RedisConnectionError(tls.HUNG_UP)

    async def _connected(self) -> AbstractConnection:
        connection = self.made()
        await tls.load(connection, url=self.url)
        tls.warn_once(self.options, url=self.url)
        try:
            async with asyncio.timeout(self.limit_s):
                await connection.connect()
            return connection
        except TimeoutError:  # it came as far as the log-in, which redis-py gives any time
            failed: Exception = RedisTimeoutError(f"no answer after {self.limit_s:g} s")
        except tls.HungUp as error:
            failed = error
        except (RedisError, OSError) as error:
            failed = self._told(_last_word(connection) or error)
        except BaseException:
            await drop(connection)
            raise
        finally:
            _last_word(connection)  # in any case, as it closes the ear
        await drop(connection)
        raise failed

    def _told(self, wrapped: RedisError | OSError) -> Exception:
        whom, broken = self.whom or self.url, tls.failure(wrapped)
        if broken is not None:
            return tls.told(broken, whom=whom, url=self.url)
        # redis-py wraps what the server answered to AUTH in a connection error.
        error = wrapped.__cause__ if isinstance(wrapped.__cause__, RedisError) else wrapped
        text = self._clean(error)
        if not isinstance(error, RedisError):
            return RedisConnectionError(text)
        if code(error) in ("NOPERM", "NOAUTH", "WRONGPASS", "LOADING", "MAXCLIENTS"):
            refused = told(type(error)(text), verb="connect", url=whom)
            refused.url = self.url
            return refused
        if "Protocol error" in text or "Invalid Database" in text:
            return no_redis(text, whom=whom, url=self.url)
        return RedisConnectionError(text) if isinstance(error, BROKEN) else ResponseError(text)

    def _clean(self, error: Exception) -> str:
        """A server that knows no AUTH answers with all that it was sent."""
        text, behind = str(error), error.__context__ or error
        if isinstance(behind, ConnectionError) and not behind.args:  # all that asyncio says of it
            text = "the server closed the connection"
        for name in ("password", "ssl_password"):
            secret = self.options.get(name)
            if secret:
                text = text.replace(secret, HIDDEN)
        return text


async def drop(connection: AbstractConnection) -> None:
    """End a connection now. TLS would say goodbye first, and wait for the other side's."""
    transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if transport is not None:
        transport.abort()
    await connection.disconnect(nowait=True)


def no_redis(said: str, *, whom: str, url: str) -> StoreUnusable:
    """What answers is no Redis, or not this one."""
    return StoreUnusable(
        f"what answers at {whom} can't serve aiotq ({said[:120] or 'it said nothing'}); "
        "a Redis of 6.2 or newer, or a Valkey, was expected; correct the URL",
        verb="connect",
        url=url,
    )


_QUIET: dict[type[Any], type[Any]] = {}


def _quiet(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The class without two complaints: its own about a connection that a script's end left open, which the system
    closes, and asyncio's about one that broke under a write before a wire had it. And with an ear: see `_last_word`.
    """
    if kind not in _QUIET:
        base: Any = kind

        async def _connect(self: Any) -> None:
            await base._connect(self)  # noqa: SLF001  what this one extends
            _hear(self)

        async def on_connect(self: Any) -> None:  # of a unix socket, before `_connect` has ended
            _hear(self)
            await base.on_connect(self)

        def __del__(self: Any) -> None:  # noqa: N807  the method's name
            writer = getattr(self, "_writer", None)
            if writer is not None and not sys.is_finalizing():
                self._writer = self._reader = None

        quiet = {"_connect": _connect, "on_connect": on_connect, "__del__": __del__}
        _QUIET[kind] = type(kind.__name__, (kind,), quiet)
    return _QUIET[kind]


def _hear(connection: Any) -> None:
    """See to it that somebody hears why the connection's stream has ended, and what the server said before that."""
    writer: Any = getattr(connection, "_writer", None)
    plain = isinstance(writer, asyncio.StreamWriter) and writer.get_extra_info("ssl_object") is None
    if plain and getattr(connection, EAR, None) is None:
        with suppress(OSError):  # no descriptor is left for it: then without
            setattr(connection, EAR, (connection._reader, writer.get_extra_info("socket").dup()))  # noqa: SLF001  as above
    # What asyncio's `wait_closed` awaits.
    ended = getattr(getattr(writer, "_protocol", None), "_get_close_waiter", None)
    if ended is not None:
        ended(writer).add_done_callback(_heard)


def _last_word(connection: Any) -> RedisError | None:
    """What a server said that has closed the connection before it was used; None: nothing. Asked once: the ear closes.

    One that has too many clients says so as it accepts them, and closes. Whoever writes to it after that is told that
    it has closed, and asyncio then drops what it has said; so a second ear is kept on it until then.
    """
    ear: tuple[asyncio.StreamReader, socket.socket] | None = getattr(connection, EAR, None)
    if ear is None:
        return None
    setattr(connection, EAR, None)
    reader, line = ear
    word = bytes(getattr(reader, "_buffer", b""))
    with line, suppress(OSError):  # it never waits, as the socket that it is the twin of
        word += line.recv(LONGEST_WORD)
    return ResponseError(word[1:].decode(errors="replace").strip()) if word.startswith(b"-") else None


def _heard(ended: asyncio.Future[None]) -> None:
    if not ended.cancelled():
        ended.exception()
