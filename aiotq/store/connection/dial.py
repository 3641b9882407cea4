"""From a URL to a connected connection of redis-py: each time a new one, for an owner of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import UnixDomainSocketConnection

from aiotq.errors import UsageError
from aiotq.store import embedded
from aiotq.store.connection import sentinel
from aiotq.store.connection.handshake import Route
from aiotq.store.connection.route import route
from aiotq.store.url import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    Dial = Callable[[], Awaitable[AbstractConnection]]

_MEMORY: dict[str, Any] = {}  # one fakeredis server a name, for the life of the process


def dialler(url: str, *, connect_timeout_s: float) -> Dial:
    """How to connect to a URL. Raises UsageError for one that can't be right."""
    if url.startswith("embedded://"):
        return _to_embedded(url, connect_timeout_s)
    if url.startswith("memory://"):
        return _to_memory(url, connect_timeout_s)
    if url.startswith(sentinel.SCHEMES):
        return sentinel.sentinels(url, limit_s=connect_timeout_s).connected
    return route(url, limit_s=connect_timeout_s).connected


def _to_embedded(url: str, limit_s: float) -> Dial:
    directory, shown = embedded.parse(url), redact(url)

    async def dial() -> AbstractConnection:
        # Every connection goes through the same steps: the server may have ended since.
        path = await asyncio.to_thread(embedded.ensure, directory, wait_s=limit_s)
        there = Route(kind=UnixDomainSocketConnection, options={"path": path}, url=shown, limit_s=limit_s)
        return await there.connected()

    return dial


def _to_memory(url: str, limit_s: float) -> Dial:
    try:
        from fakeredis import FakeServer  # noqa: PLC0415  the extra `memory`
        from fakeredis.aioredis import FakeAsyncRedisConnection  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"the URL {redact(url)} needs an extra: pip install 'aiotq[memory]'") from None
    server = _MEMORY.setdefault(url, FakeServer(version=(7,)))
    options: dict[str, Any] = {"server": server, "version": (7,), "db": 0}
    return Route(kind=FakeAsyncRedisConnection, options=options, url=redact(url), limit_s=limit_s).connected
