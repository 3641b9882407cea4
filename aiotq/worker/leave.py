"""How a worker goes: its last words to the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotq.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.store.contract import Store
    from aiotq.worker.fetch import Fetcher

GOODBYE_AGAIN_S = 0.05


async def say_goodbye(
    store: Store, fetcher: Fetcher, *, queues: Sequence[str], registered: Callable[[str | None], None] | None
) -> None:
    """Again, if the store has not heard it. registered: told that it stands there no more."""
    while True:
        try:
            await fetcher.flush()
            await store.retire(fetcher.worker_id)
            if registered is not None:
                registered(None)
            for queue in queues:  # a token may have come just now to the ear that was closed
                await store.leave_token(queue)
            return
        except StoreError:
            await asyncio.sleep(GOODBYE_AGAIN_S)
