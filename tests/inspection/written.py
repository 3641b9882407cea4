"""What a test writes by hand: keys as a worker would leave them, and workers that only have a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq.store.contract import WorkerCard

if TYPE_CHECKING:
    from aiotq import App

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


async def now_ms(raw: Any) -> int:
    seconds, micros = await raw.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def put(raw: Any, key: str, mapping: dict[str, Any]) -> None:
    await raw.hset(key, mapping=mapping)
    await raw.expire(key, 600)


async def card(shop: App, name: str, *queues: str, lease_ms: int = 60_000) -> None:
    worker = WorkerCard(
        worker_id=name, label=f"at {name}", host="box", pid=77, queues=queues or ("default",), lease_ms=lease_ms
    )
    assert await shop._core.client().store.register(worker)
