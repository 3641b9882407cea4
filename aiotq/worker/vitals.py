"""What is to be seen of a worker's life, by any thread: plain reads, so that asking costs the worker nothing."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aiotq.health import Signs, Stage

if TYPE_CHECKING:
    from aiotq.worker.life import Life


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
