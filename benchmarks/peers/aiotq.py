"""aiotq, from the checkout, with everything on that a default worker has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiotq import App
from benchmarks import work
from benchmarks.peers.base import PYTHON, URL, AsyncPeer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

app = App(URL)
TASKS = {
    "noop": app.task(name="benchmarks.work:noop")(work.noop),  # a name of 20 characters
    "nap": app.task(name="nap")(work.nap),
    "burn": app.task(name="burn")(work.burn),
    "echo": app.task(name="echo")(work.echo),
}


class Aiotq(AsyncPeer):
    """`delay()`, `options(countdown=...)`, `enqueue_many()`."""

    name = "aiotq"
    workers = [[PYTHON, "-m", "aiotq", "benchmarks.peers.aiotq:app"]]
    jobs_s = 50_000
    setup = "defaults"

    async def open(self) -> None:
        await app.__aenter__()

    async def close(self) -> None:
        await app.__aexit__(None, None, None)

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return TASKS[task].delay(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        return TASKS[task].options(countdown=delay_s).delay(*args)

    async def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        signed = TASKS[task].s
        await app.enqueue_many(signed(*args) for args in calls)

    async def fill_queues(self, jobs: int, names: list[str]) -> None:
        """So many no-op jobs, spread over these queues."""
        tasks = [TASKS["noop"].options(queue=name) for name in names]
        await app.enqueue_many(tasks[slot % len(tasks)].s(slot) for slot in range(jobs))

    async def fill_schedule(self, jobs: int) -> None:
        """So many that are due in an hour."""
        later = TASKS["noop"].options(countdown=3_600)
        await app.enqueue_many(later.s(slot) for slot in range(jobs))

    async def result(self, handle: Any) -> Any:
        return await handle.result(timeout=20)


peer = Aiotq()
