"""huey on Redis, as its docs set it up: RedisHuey, `huey_consumer` with a worker process a core (-k process -w 2).

A job is taken off its list before it runs (at most once), its default. Results are kept until they are read. Delays of
polling at their defaults (0.1 s and up for results, 1 s for what is scheduled). It has no bulk interface.
"""

from __future__ import annotations

from typing import Any

from huey import RedisHuey

from benchmarks import work
from benchmarks.peers.base import URL, SyncPeer, quiet, script

quiet()

huey = RedisHuey("benchmarks", url=URL)
TASKS = {
    "noop": huey.task(name="noop")(work.sync_noop),
    "nap": huey.task(name="nap")(work.sync_nap),
    "burn": huey.task(name="burn")(work.sync_burn),
    "echo": huey.task(name="echo")(work.sync_echo),
}


class HueyPeer(SyncPeer):
    name = "huey"
    workers = [[script("huey_consumer"), "benchmarks.peers.huey.huey", "-k", "process", "-w", "2", "-q"]]
    slots = 2
    jobs_s = 1_700
    bulk = False
    setup = "-k process -w 2; at most once"

    def enqueue(self, task: str, *args: Any) -> Any:
        return TASKS[task](*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        return TASKS[task].schedule(args=args, delay=delay_s)

    def result(self, handle: Any) -> Any:
        return handle.get(blocking=True, timeout=20)


peer = HueyPeer()
