"""RQ, as its docs set it up: a Queue, `rq worker-pool` with a worker a core (two), a fork for each job, its default.

Results are kept 500 s, its default. Delayed jobs by `enqueue_in` and a worker --with-scheduler. Bulk is `enqueue_many`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue

from benchmarks import work
from benchmarks.peers.base import URL, SyncPeer, quiet, script

if TYPE_CHECKING:
    from collections.abc import Iterable

quiet()

queue = Queue(connection=Redis.from_url(URL))
TASKS = {"noop": work.sync_noop, "nap": work.sync_nap, "burn": work.sync_burn, "echo": work.sync_echo}
CHUNK = 1_000


class Rq(SyncPeer):
    name = "rq"
    workers = [[script("rq"), "worker-pool", "-n", "2", "-u", URL, "-q"]]
    schedulers = [[script("rq"), "worker", "--with-scheduler", "-u", URL, "-q"]]
    slots = 2
    jobs_s = 60
    setup = "worker-pool of 2, a fork for each job"

    def enqueue(self, task: str, *args: Any) -> Any:
        return queue.enqueue(TASKS[task], *args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        return queue.enqueue_in(timedelta(seconds=delay_s), TASKS[task], *args)

    def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        prepared = [Queue.prepare_data(TASKS[task], args) for args in calls]
        for at in range(0, len(prepared), CHUNK):
            queue.enqueue_many(prepared[at : at + CHUNK])

    def result(self, handle: Any) -> Any:
        return handle.latest_result(timeout=20).return_value


peer = Rq()
