"""How a worker behaves: frozen values, checked by the app that makes them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq import checks, settings
from aiotq.hooks import Hooks
from aiotq.limits import MAX_BESIDE
from aiotq.retry import seconds
from aiotq.signing import Signer

if TYPE_CHECKING:
    from aiotq.retry import Duration
    from aiotq.settings import AppSettings

HEARTBEATS_A_LEASE = 15 / 4  # 15 s are renewed every 4 s: two in a row may be lost, the third still comes in time
STUCK_AFTER_S = 5.0  # a job that has not ended this long after its cancellation is stuck
READ_AHEAD_S = 0.010  # beside its free slots a worker claims what it will start within this time
READ_AHEAD_MOST = 6  # ... but never more than this times its concurrency
GIVE_BACK_S = 0.05  # a claimed job that could not be started for this long goes back: another worker may be free
THREAD_BOUND_S = 0.1  # once threads were the bottleneck, for so long no more is claimed than there are free ones
LOOK_S = 4.0  # a worker with jobs in hand asks at least this often; what was published to it may have been missed


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker was told. `_s` are seconds, `_ms` milliseconds."""

    queues: tuple[str, ...]  # in the order in which they are served
    concurrency: int = 100  # jobs at once
    threads: int = 8  # plain `def` jobs at once
    pool_processes: int = field(default_factory=cores)  # jobs at once of tasks with process=True
    grace_s: float = 30.0  # what running jobs get when the worker stops
    lease_s: float = 15.0
    name: str | None = None  # the label; None: host and a random part
    result_ttl_ms: int = 3_600_000
    failure_ttl_ms: int = 30 * 86_400_000
    max_payload: int = 1 << 20  # bytes
    max_result: int = 1 << 20  # bytes
    unknown_for_s: float = 3_600.0  # how long a job of an unknown task is put back before it is a dead letter
    max_lost: int = 3  # a job whose worker vanished more often is a dead letter
    max_block_s: float = 60.0  # how long the event loop may stand still before the lease is let go
    # What the command line says goes before what the app says, in the pool's processes as well. With its password.
    url: str | None = field(default=None, repr=False)
    namespace: str = "aiotq"
    signer: Signer | None = field(default=None, repr=False)  # of an app with signing keys
    hooks: Hooks = field(default_factory=Hooks, repr=False, compare=False)

    @property
    def max_record(self) -> int:
        """Bytes of a waiting job's record at most."""
        return self.max_payload + MAX_BESIDE

    @property
    def lease_ms(self) -> int:
        """The lease, as the store wants it."""
        return round(self.lease_s * 1000)

    @property
    def heartbeat_s(self) -> float:
        """How often the lease is renewed."""
        return self.lease_s / HEARTBEATS_A_LEASE


def told_by(
    app: AppSettings,
    *,
    queues: tuple[str, ...],
    concurrency: object,
    threads: object,
    pool_processes: object | None,
    grace: Duration,
    lease: Duration | None,
    name: str | None,
) -> WorkerSettings:
    """The settings of `App.worker(...)`. Raises UsageError that names the parameter."""
    pool = cores() if pool_processes is None else checks.whole("pool_processes", pool_processes, least=1)
    return WorkerSettings(
        queues=queues,
        concurrency=checks.whole("concurrency", concurrency, least=1),
        threads=checks.whole("threads", threads, least=1),
        pool_processes=pool,
        grace_s=seconds(grace, name="grace"),
        lease_s=app.lease_s if lease is None else settings.lease_s(lease),
        name=None if name is None else checks.word("name", name),
        result_ttl_ms=round(app.result_ttl_s * 1000),
        failure_ttl_ms=round(app.failure_ttl_s * 1000),
        max_payload=app.max_payload,
        max_result=app.max_result,
        unknown_for_s=app.unknown_for_s,
        max_lost=app.max_lost,
        max_block_s=app.max_block_s,
        namespace=app.namespace,
    )
