"""taskiq on Redis, as the docs of taskiq and taskiq-redis set it up; the two brokers differ in one line.

One worker process (--workers 1, as for every asyncio peer) with the default of 100 tasks at once; results in its
RedisAsyncResultBackend, kept as long as by default; delayed jobs by a ListRedisScheduleSource and a scheduler process,
which looks for new ones each second (--update-interval 1: by default once a minute). Its docs show no way to enqueue in
bulk.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from taskiq import TaskiqScheduler
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend

from benchmarks import work
from benchmarks.peers.base import URL, AsyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from taskiq import AsyncBroker

quiet()


class Taskiq(AsyncPeer):
    """Either broker; module: where the worker finds it."""

    name = "taskiq"
    jobs_s = 1_500
    bulk = False
    setup = "--workers 1, 100 tasks at once; scheduler --update-interval 1"

    def __init__(self, broker: AsyncBroker, module: str) -> None:
        self.broker = broker.with_result_backend(RedisAsyncResultBackend(URL))
        self.source = ListRedisScheduleSource(URL)
        self.scheduler = TaskiqScheduler(self.broker, [self.source])
        self.workers = [[script("taskiq"), "worker", "--workers", "1", f"{module}:broker"]]
        self.schedulers = [[script("taskiq"), "scheduler", "--update-interval", "1", f"{module}:scheduler"]]
        self.tasks = {
            "noop": self.broker.task(task_name="noop")(work.noop),
            "nap": self.broker.task(task_name="nap")(work.nap),
            "burn": self.broker.task(task_name="burn")(work.burn),
            "echo": self.broker.task(task_name="echo")(work.echo),
        }

    async def open(self) -> None:
        await self.broker.startup()
        await self.source.startup()

    async def fresh(self) -> None:
        await self.broker.startup()  # a stream needs its consumer group before the first job

    async def close(self) -> None:
        await self.source.shutdown()
        await self.broker.shutdown()

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        return self.tasks[task].kiq(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        due = datetime.now(timezone.utc) + timedelta(seconds=delay_s)  # noqa: UP017  as its docs write it
        return self.tasks[task].schedule_by_time(self.source, due, *args)

    async def result(self, handle: Any) -> Any:
        return (await handle.wait_result(timeout=20)).return_value
