"""What a worker hears from the store: that somebody should look, and which running jobs shall stop."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from aiotq.errors import StoreError
from aiotq.worker.outage import DutyOutage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.contract import Store
    from aiotq.worker.fetch import Fetcher


async def hear_tokens(store: Store, fetcher: Fetcher, *, queues: Sequence[str]) -> None:
    """Sleep on the wake lists while there is room."""
    # A connection of its own, that ends with this: what goes on blocking would take tokens that nobody hears of.
    ear, outage = store.sibling(), DutyOutage("waiting for news of jobs", fetcher.outage)
    try:
        while True:
            await fetcher.thirsty.wait()
            try:
                queue = await ear.wait_token(queues)
                outage.end()
                fetcher.thirsty.clear()
                if queue is not None and fetcher.room() <= 0:  # full or stopping: another worker's
                    await store.leave_token(queue)
                    continue
            except StoreError as error:  # else the fetcher says it aloud
                outage.begin(error)
                await _pause()
            fetcher.wake(hungry=True)
    finally:
        await ear.close()


async def hear_cancels(store: Store, fetcher: Fetcher, *, worker_id: str) -> None:
    """Cancel what is published to this worker. What is missed comes with the next exchange."""
    outage = DutyOutage("listening for cancels", fetcher.outage)
    while True:
        try:
            async for job_id in store.cancellations(worker_id):
                outage.end()
                if job_id is not None:
                    fetcher.cancel(job_id)
        except StoreError as error:  # else the fetcher says it aloud
            outage.begin(error)
            await _pause()


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311  spread, no secret
