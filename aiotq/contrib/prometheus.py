"""Prometheus metrics of a worker's process (pip install 'aiotq[prometheus]'): `App(observers=[Prometheus()])`.

They are served on the worker's health port, under /metrics. What the whole system does, whatever the number of
processes, says `aiotq metrics`; the two have different names.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from aiotq.contrib.families import UNKNOWN, WORKER, Bounded
from aiotq.hooks import Attempt, Middleware, Observer
from aiotq.store.tallies import BOUNDS_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.hooks import Incoming, Outcome, Outgoing, RunNext

BUCKETS_S = tuple(bound_ms / 1000 for bound_ms in BOUNDS_MS)
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own variable


class Prometheus(Middleware, Observer):
    """Counters, histograms and gauges of what this process enqueues and runs.

    registry: where they are registered; None: the global one. Where OpenTelemetry is installed, the histogram of runs
    carries the trace of a run as exemplar, if the middleware that traces it was added before.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = REGISTRY if registry is None else registry
        self._tasks, self._queues = Bounded(), Bounded()
        self._traces: dict[tuple[str, int], dict[str, str]] = {}  # by the job's id and the attempt's fence
        self._enqueued: Counter = self._made(Counter, "aiotq_worker_enqueued")
        self._attempts: Counter = self._made(Counter, "aiotq_worker_attempts")
        self._lost: Counter = self._made(Counter, "aiotq_worker_lost")
        self._wait_s: Histogram = self._made(Histogram, "aiotq_worker_wait_seconds", buckets=BUCKETS_S)
        self._run_s: Histogram = self._made(Histogram, "aiotq_worker_run_seconds", buckets=BUCKETS_S)
        self._slots: Gauge = self._made(Gauge, "aiotq_worker_slots", multiprocess_mode="livesum")
        self._used: Gauge = self._made(Gauge, "aiotq_worker_slots_used", multiprocess_mode="livesum")
        self._running: set[tuple[str, int]] = set()
        self._of_workers: dict[str, int] = {}  # slots by label
        if importlib.util.find_spec("opentelemetry") is not None:
            self.run = self._traced  # else runs go without this middleware

    def _made(self, kind: Any, name: str, **more: Any) -> Any:
        family = WORKER[name]
        return kind(name, family.says, family.labels, registry=self._registry, **more)

    def _about(self, seen: Outgoing | Attempt) -> tuple[str, str]:
        known = seen.known if isinstance(seen, Attempt) else True
        return self._tasks(seen.task) if known else UNKNOWN, self._queues(seen.queue)

    # --- what happens -------------------------------------------------------------------------------------------

    def enqueued(self, job: Outgoing, *, existed: bool) -> None:
        """Count it."""
        if not existed:
            self._enqueued.labels(*self._about(job)).inc()

    def working(self, worker: str, *, slots: int, queues: Sequence[str]) -> None:  # noqa: ARG002  an observer's
        """Its slots are there."""
        self._of_workers[worker] = slots
        self._slots.set(sum(self._of_workers.values()))

    def stopped(self, worker: str) -> None:
        """They are gone."""
        self._of_workers.pop(worker, None)
        self._slots.set(sum(self._of_workers.values()))

    def started(self, attempt: Attempt) -> None:
        """A slot is taken."""
        self._running.add((attempt.id, attempt.fence))
        self._used.set(len(self._running))
        if attempt.waited_s is not None:
            self._wait_s.labels(*self._about(attempt)).observe(attempt.waited_s)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Count what it came to."""
        self._attempts.labels(*self._about(attempt), type(outcome).__name__.lower()).inc()
        traced = self._over(attempt)
        if attempt.took_s is not None:
            self._run_s.labels(*self._about(attempt)).observe(attempt.took_s, traced)

    def lost(self, attempt: Attempt) -> None:
        """Count it apart; perhaps it was counted by what it came to as well."""
        self._lost.labels(*self._about(attempt)).inc()
        self._over(attempt)

    def _over(self, attempt: Attempt) -> dict[str, str] | None:
        """Its slot is free. Returns its trace."""
        key = attempt.id, attempt.fence
        self._running.discard(key)
        self._used.set(len(self._running))
        return self._traces.pop(key, None)

    async def _traced(self, job: Incoming, call: RunNext) -> Any:
        """Note the trace of a run."""
        from opentelemetry import trace  # noqa: PLC0415  it may not be there

        span = trace.get_current_span().get_span_context()
        if span.is_valid and span.trace_flags.sampled:
            self._traces[job.job.id, job.job.fence] = {
                "trace_id": trace.format_trace_id(span.trace_id),
                "span_id": trace.format_span_id(span.span_id),
            }
        return await call(job)

    # --- what is scraped ----------------------------------------------------------------------------------------

    def metrics_page(self, accept: str) -> tuple[bytes, str]:
        """All of the registry in the format that is asked for, and that format. From any thread."""
        registry = self._registry
        if MULTIPROCESS in os.environ:  # those of all processes that share the folder
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        encode, kind = choose_encoder(accept)
        return encode(registry), kind
