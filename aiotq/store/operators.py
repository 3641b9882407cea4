"""An operator's side of a store on Redis: `inspection.Operator`, put together of its reads and its acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.store.acting import ActingVerbs
from aiotq.store.ask import Asker
from aiotq.store.reading import ReadingVerbs
from aiotq.store.telling import TellingVerbs

if TYPE_CHECKING:
    from aiotq.store.contract import Store


class RedisOperator(ActingVerbs, ReadingVerbs, TellingVerbs):
    """An `inspection.Operator`. It has no connection of its own: that of the store which it is of."""


def operator_of(store: Store) -> RedisOperator:
    """The operator's side of a store on Redis."""
    if not isinstance(store, Asker):
        raise TypeError(f"{type(store).__name__} is no store on Redis, and only these have an operator's side")
    return RedisOperator(store.asking)
