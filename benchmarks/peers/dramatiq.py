"""dramatiq on Redis, as its docs set it up: RedisBroker, a process a core (two), 8 threads each, its defaults.

It stores no results unless asked; only `echo` asks, for the round trip. It has no bulk interface.
"""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

from benchmarks import work
from benchmarks.peers.base import URL, SyncPeer, quiet, script

quiet()

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
TASKS = {
    "noop": dramatiq.actor(work.sync_noop, actor_name="noop"),
    "nap": dramatiq.actor(work.sync_nap, actor_name="nap"),
    "burn": dramatiq.actor(work.sync_burn, actor_name="burn"),
    "echo": dramatiq.actor(work.sync_echo, actor_name="echo", store_results=True),
}


class Dramatiq(SyncPeer):
    name = "dramatiq"
    workers = [[script("dramatiq"), "benchmarks.peers.dramatiq", "-p", "2", "-t", "8"]]
    slots = 16
    jobs_s = 3_000
    bulk = False
    setup = "2 processes of 8 threads; stores no results but the round trip's"

    def enqueue(self, task: str, *args: Any) -> Any:
        return TASKS[task].send(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        return TASKS[task].send_with_options(args=args, delay=round(delay_s * 1000))

    def result(self, handle: Any) -> Any:
        return handle.get_result(block=True, timeout=20_000)


peer = Dramatiq()
