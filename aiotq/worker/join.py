"""How a worker comes: it reaches the store, and registers under an id that nobody has."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from aiotq.errors import StoreError, StoreRefused, StoreUnavailable
from aiotq.store.contract import WorkerCard
from aiotq.worker.log import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.contract import ServerFacts, Store
    from aiotq.worker.outage import Outage
    from aiotq.worker.settings import WorkerSettings

BACKOFF_CAP_S = 0.9  # and a try: so it is back within a second of its store
LAST_WORDS_S = 0.9  # what a worker that must go gives the store: with the end of its process a second


async def reach(store: Store, outage: Outage, *, give_up_s: float | None) -> ServerFacts:
    """Connect and vet: trouble is said aloud once, and tried for ever, or for `give_up_s` seconds.

    Raises StoreUnusable at once, StoreUnavailable or StoreRefused once given up.
    """
    began_s, backoff_s = monotonic(), 0.1
    while True:
        try:
            facts = await store.vet()
            break
        except (StoreUnavailable, StoreRefused) as error:
            if give_up_s is not None and monotonic() - began_s + backoff_s >= give_up_s:
                raise
            outage.begin(error)
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
            backoff_s = min(2 * backoff_s, BACKOFF_CAP_S)
    outage.end(store.url, said="connected")
    return facts


def warn(facts: ServerFacts) -> None:
    """Say aloud what would hurt later."""
    for warning in facts.warnings:
        say(logging.WARNING, "server", "%s", warning)


async def register(
    store: Store, settings: WorkerSettings, outage: Outage, *, label: str, former: Sequence[str]
) -> tuple[str, float]:
    """Register under a random id. Returns it, and when the request was sent (monotonic): from then the lease runs.

    former: its ids so far, if it has worked; then no server ends it, not even one that can't serve.
    Raises StoreUnusable if it has not.
    """
    backoff_s = 0.1
    while True:
        sent_at_s, worker_id = monotonic(), secrets.token_hex(6)
        card = WorkerCard(
            worker_id=worker_id,
            label=label,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=settings.queues,
            lease_ms=settings.lease_ms,
            former=former,
        )
        try:
            if await store.register(card):
                outage.end(store.url)
                return worker_id, sent_at_s
        except StoreError as error:
            # One whose reply was lost may stand there without jobs; it is reclaimed as its lease ends.
            if not (former or isinstance(error, StoreUnavailable | StoreRefused)):
                raise
            outage.begin(error)
            await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311  spread, no secret
            backoff_s = min(2 * backoff_s, BACKOFF_CAP_S)
        except asyncio.CancelledError:  # it may be on its way: what follows it on the same connection takes it away
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await store.retire(worker_id)
            raise
