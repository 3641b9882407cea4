"""What is to be seen of a worker's life, by any thread: plain reads, so that asking costs the worker nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct, json, structs

from aiotq.health import Signs, Stage
from aiotq.version import __version__

if TYPE_CHECKING:
    from aiotq.worker.life import Life

MAX_JOBS = 100
MAX_JSON = 48 << 10  # bytes
BLOCKED_S = 1.0  # a loop that has stood still for so long is news
_STATM = Path("/proc/self/statm")
_by_start = attrgetter("started_s")


class Pulse(Struct, frozen=True, kw_only=True):
    """How a worker does, as it tells the store."""

    slots: int
    used: int  # of these
    stuck: int  # of these, those whose job can't be ended
    memory: int  # bytes, of its process
    version: str
    blocked_s: float  # for how long its loop has stood still
    stopping: bool
    jobs: Sequence[
        tuple[str, str, str, int, int]
    ]  # id, task, queue, attempt, started (Unix ms): those that run longest

    @property
    def shown(self) -> tuple[bool, int, bool]:
        """What of it nobody should learn late."""
        return self.stopping, self.stuck, self.blocked_s >= BLOCKED_S

    def json(self) -> bytes:
        """At most MAX_JSON bytes: with fewer jobs if these have long names."""
        said, jobs = json.encode(self), self.jobs
        while len(said) > MAX_JSON:
            jobs = jobs[: len(jobs) // 2]
            said = json.encode(structs.replace(self, jobs=jobs))
        return said


def pulse(life: Life) -> Pulse:
    """As it is now."""
    fetcher, keeper, runner = life.fetcher, life.keeper, life.runner
    running = sorted(runner.running.copy(), key=_by_start)
    return Pulse(
        slots=life.settings.concurrency,
        used=len(running),
        stuck=len(runner.stuck),
        memory=resident_bytes(),
        version=__version__,
        blocked_s=round(0.0 if keeper is None else keeper.blocked_s(monotonic()), 1),
        stopping=fetcher.stopping or fetcher.allowance.closed,
        jobs=[(held.job_id, held.name, held.queue, held.attempt, held.started_ms or 0) for held in running[:MAX_JOBS]],
    )


def resident_bytes() -> int:
    """This process's resident memory; where the system does not tell (macOS), the most that it has been."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # noqa: PLC0415  not everywhere

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def signs(life: Life, *, stopping: bool) -> Signs:
    """As they are now. stopping: it has been told to stop."""
    now_s = monotonic()
    fetcher, keeper, settings, stuck = life.fetcher, life.keeper, life.settings, tuple(life.runner.stuck)
    claimed_at_s = fetcher.claimed_at_s
    return Signs(
        stage=_stage(life, stopping=stopping),
        max_block_s=settings.max_block_s,
        trouble=fetcher.outage.state,
        stuck_slots=life.exhausted or len(stuck) >= settings.concurrency,
        stuck_threads=sum(held.threaded for held in stuck) >= settings.threads,
        keeper_silent_s=None if keeper is None else keeper.silent_s(now_s),
        blocked_s=0.0 if keeper is None else keeper.blocked_s(now_s),
        lease_good=keeper is not None and keeper.lease_good,
        claimed_ago_s=None if claimed_at_s is None else now_s - claimed_at_s,
    )


def _stage(life: Life, *, stopping: bool) -> Stage:
    if life.owner is None:
        return Stage.NEW
    if life.owner.done():
        return Stage.ENDED
    if stopping or life.fetcher.stopping or life.fetcher.allowance.closed:
        return Stage.STOPPING
    registered = life.keeper is not None and not life.fetcher.lost.is_set()
    return Stage.WORKING if registered else Stage.STARTING
