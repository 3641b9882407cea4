"""From a URL to a connected connection of redis-py.

redis-py's own retries are off: it would send a script again whose reply was lost, without a word.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from aiotq.errors import StoreUnusable, UsageError
from aiotq.store import embedded
from aiotq.store.answers import code, told
from aiotq.store.url import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    Dial = Callable[[], Awaitable[AbstractConnection]]

_MEMORY: dict[str, Any] = {}  # one fakeredis server a name, for the life of the process
SCHEMES = ("redis://", "rediss://", "unix://", "embedded://", "memory://")


def dialler(url: str, *, connect_timeout_s: float) -> Dial:
    """How to connect to a URL. Raises UsageError for one that can't be right."""
    if url.startswith("embedded://"):
        directory = embedded.parse(url)

        async def to_embedded() -> AbstractConnection:
            # Every connection goes through the same steps: the server may have ended since.
            path = await asyncio.to_thread(embedded.ensure, directory, wait_s=connect_timeout_s)
            return await _connect(UnixDomainSocketConnection, {"path": path}, url, connect_timeout_s)

        return to_embedded
    if url.startswith("memory://"):
        kind, options = _fake(url)
    else:
        kind, options = _parsed(url)

    async def to_server() -> AbstractConnection:
        return await _connect(kind, options, url, connect_timeout_s)

    return to_server


def _parsed(url: str) -> tuple[type[AbstractConnection], dict[str, Any]]:
    if "://" not in url:
        meant = redact(f"redis://{url}")
        raise UsageError(f"the URL {meant.removeprefix('redis://')!r} has no scheme; did you mean {meant}?")
    if not url.startswith(SCHEMES):
        raise UsageError(
            f"the URL {redact(url)!r} is not one that aiotq knows; it starts with one of {', '.join(SCHEMES)}"
        )
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError as error:
        raise UsageError(
            f"the URL {redact(url)!r} can't be read: {error}; expected redis://[:password@]host[:port][/db]"
        ) from None
    return options.pop("connection_class", Connection), options


def _fake(url: str) -> tuple[type[AbstractConnection], dict[str, Any]]:
    try:
        from fakeredis import FakeServer  # noqa: PLC0415  the extra `memory`
        from fakeredis.aioredis import FakeAsyncRedisConnection  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"the URL {url} needs an extra: pip install 'aiotq[memory]'") from None
    server = _MEMORY.setdefault(url, FakeServer(version=(7,)))
    return FakeAsyncRedisConnection, {"server": server, "version": (7,), "db": 0}


async def _connect(
    kind: type[AbstractConnection], options: dict[str, Any], url: str, connect_timeout_s: float
) -> AbstractConnection:
    settings: dict[str, Any] = {
        **options,
        "socket_timeout": None,  # the wire's own limit covers a command
        "socket_connect_timeout": connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    connection = _quiet(kind)(**settings)
    shown = redact(url)
    try:
        await connection.connect()
    except RedisError as wrapped:
        # redis-py wraps what the server answered to AUTH in a connection error.
        error = wrapped.__cause__ if isinstance(wrapped.__cause__, RedisError) else wrapped
        if code(error) in ("NOPERM", "NOAUTH", "WRONGPASS", "LOADING"):
            raise told(error, verb="connect", url=shown) from None
        if "Protocol error" in str(error) or "Invalid Database" in str(error):
            raise no_redis(shown, error) from None
        raise
    return connection


def no_redis(url: str, error: Exception) -> StoreUnusable:
    """What answers is no Redis, or not this one."""
    return StoreUnusable(
        f"what answers at {url} can't serve aiotq ({str(error)[:120] or type(error).__name__}); "
        "a Redis of 6.2 or newer, or a Valkey, was expected; correct the URL",
        verb="connect",
        url=url,
    )


_QUIET: dict[type[Any], type[Any]] = {}


def _quiet(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The class without its complaint about a connection that a script's end left open: the system closes it."""
    if kind not in _QUIET:

        def __del__(self: Any) -> None:  # noqa: N807  the method's name
            writer = getattr(self, "_writer", None)
            if writer is not None and not sys.is_finalizing():
                self._writer = self._reader = None

        _QUIET[kind] = type(kind.__name__, (kind,), {"__del__": __del__})
    return _QUIET[kind]
