"""`python -m aiotq.supervisor.handback`: hand back at once what a dead worker process held, before its lease ends.

Its supervisor starts it, having seen the process end: nobody else may be so sure. Each job counts as lost once more,
as if another worker had reclaimed it. A server that is away is asked again for as long as the lease may last; then the
other workers see to it, as they do where a whole machine has gone.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec

from aiotq.errors import StoreError
from aiotq.store import connect
from aiotq.supervisor.words import Registered

if TYPE_CHECKING:
    from aiotq.store.contract import Store

CALL_S = 2.0
AGAIN_S = 0.2


async def hand_back(told: Registered) -> None:
    """Until the worker has gone from the store. Raises TimeoutError once its lease must have ended."""
    store = connect(told.url, namespace=told.namespace, connect_timeout_s=CALL_S)
    try:
        async with asyncio.timeout(told.lease_s):
            while not await _reclaimed(store, told.worker_id):  # noqa: ASYNC110  another server's state
                await asyncio.sleep(AGAIN_S)
    finally:
        await store.close()


async def _reclaimed(store: Store, worker_id: str) -> bool:
    try:
        # Again where a last heartbeat, still on its way as the process died, has moved the lease end meanwhile.
        while (end_ms := await store.lease_end(worker_id)) is not None:
            await store.reclaim(worker_id, seen_ms=end_ms, now_ms=end_ms)
    except StoreError:
        return False
    return True


def main() -> int:
    """Read from stdin what the worker said of itself as it registered. Returns the exit code."""
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Registered)
    try:
        asyncio.run(hand_back(told))
    except TimeoutError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
