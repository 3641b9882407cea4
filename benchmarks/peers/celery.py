"""Celery on Redis, as its docs set it up: broker and result backend, the prefork pool, a process a core (two).

Results are stored, as with every peer here; acknowledged before the job runs and four jobs a process prefetched, its
defaults. Delayed jobs by `countdown`, which a worker holds in its memory. It has no bulk interface.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from benchmarks import work
from benchmarks.peers.base import URL, SyncPeer, quiet, script

quiet()

app = Celery("benchmarks", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True
TASKS = {
    "noop": app.task(name="noop")(work.sync_noop),
    "nap": app.task(name="nap")(work.sync_nap),
    "burn": app.task(name="burn")(work.sync_burn),
    "echo": app.task(name="echo")(work.sync_echo),
}


class CeleryPeer(SyncPeer):
    name = "celery"
    workers = [[script("celery"), "-A", "benchmarks.peers.celery", "worker", "--concurrency", "2", "-l", "WARNING"]]
    slots = 2
    jobs_s = 900
    bulk = False
    setup = "prefork, --concurrency 2, Redis as result backend"

    def enqueue(self, task: str, *args: Any) -> Any:
        return TASKS[task].delay(*args)

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        return TASKS[task].apply_async(args, countdown=delay_s)

    def result(self, handle: Any) -> Any:
        return handle.get(timeout=20)


peer = CeleryPeer()
