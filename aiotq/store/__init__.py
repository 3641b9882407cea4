"""The store: the one place that talks to Redis. redis-py is loaded when a store is first made (it costs 0.4 s)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.url import redact
from aiotq.store.words import cause

if TYPE_CHECKING:
    from aiotq.store.contract import Store

__all__ = ["cause", "connect", "redact"]


def connect(url: str, *, namespace: str, connect_timeout_s: float) -> Store:
    """A store at a URL, not yet connected. Raises UsageError for a URL that can't be right."""
    from aiotq.store.redis import RedisStore  # noqa: PLC0415  the one that brings in redis, when it is first needed

    return RedisStore(url, namespace=namespace, connect_timeout_s=connect_timeout_s)
