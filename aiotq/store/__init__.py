"""The store: the one place that talks to Redis. What costs time to load is loaded when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.errors import StoreUnavailable
from aiotq.store.url import redact
from aiotq.store.words import cause

if TYPE_CHECKING:
    from aiotq.store.contract import Store
    from aiotq.store.inspection import Operator

__all__ = ["built_in", "cause", "connect", "embedded_runs", "operator", "redact"]


def connect(url: str, *, namespace: str, connect_timeout_s: float) -> Store:
    """A store at a URL, not yet connected. Raises UsageError for a URL that can't be right."""
    from aiotq.store.redis import RedisStore  # noqa: PLC0415  it brings in redis-py: 0.4 s

    return RedisStore(url, namespace=namespace, connect_timeout_s=connect_timeout_s)


def operator(store: Store) -> Operator:
    """An operator's side of a store, over the same connection."""
    from aiotq.store.operators import operator_of  # noqa: PLC0415  it brings in redis-py

    return operator_of(store)


def built_in() -> bool:
    """Whether there is a built-in server to start. Looks for files only."""
    from aiotq.store import embedded  # noqa: PLC0415

    return embedded.available()


def embedded_runs(url: str) -> bool | None:
    """Whether the built-in server of that URL runs; it is not started. None: the URL is of another kind."""
    if not url.startswith("embedded://"):
        return None
    from aiotq.store import embedded  # noqa: PLC0415

    try:
        return embedded.status(embedded.parse(url)) is not None
    except StoreUnavailable:  # it is there, and silent
        return True
