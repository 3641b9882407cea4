"""The store: the one place that talks to Redis. What costs time to load is loaded when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.url import redact
from aiotq.store.words import cause

if TYPE_CHECKING:
    from aiotq.store.contract import Store

__all__ = ["built_in", "cause", "connect", "redact"]


def connect(url: str, *, namespace: str, connect_timeout_s: float) -> Store:
    """A store at a URL, not yet connected. Raises UsageError for a URL that can't be right."""
    from aiotq.store.redis import RedisStore  # noqa: PLC0415  it brings in redis-py: 0.4 s

    return RedisStore(url, namespace=namespace, connect_timeout_s=connect_timeout_s)


def built_in() -> bool:
    """Whether there is a built-in server to start. Looks for files only."""
    from aiotq.store import embedded  # noqa: PLC0415

    return embedded.available()
