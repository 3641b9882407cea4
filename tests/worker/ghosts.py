"""Short leases: a worker that vanishes with its jobs, and other apps on the same namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq import App
from aiotq.store.contract import WorkerCard

if TYPE_CHECKING:
    from aiotq.store.contract import Store

SHORT_S = 1  # the shortest lease there is: a heartbeat is 0.27 s


def same(app: App, url: str | None = None, **settings: Any) -> App:
    """Another app on the namespace of `app`, perhaps by another way."""
    return App(url or app.source().url, namespace=app._core.settings.namespace, **settings)


async def ghost(store: Store, *, queues: tuple[str, ...] = ("default",), jobs: int = 1) -> str:
    """A worker that claims jobs and is never heard of again."""
    card = WorkerCard(worker_id="ghost", label="ghost", host="nowhere", pid=1, queues=queues, lease_ms=SHORT_S * 1000)
    assert await store.register(card)
    reply = await store.exchange("ghost", [], queues=queues, limit=jobs)
    assert len(reply.claimed) == jobs
    return "ghost"
