"""What `aiotq metrics` exports: the state of all queues and workers, read out of the store (extra `prometheus`).

Its counters are the store's own, since the first of the month: they are right with any number of worker processes, and
go on where they were when the exporter is started anew. None goes back within a month, and one that appears later
begins at 0, so that its first increase is seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from time import monotonic
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from aiotq.contrib.families import EXPORTED, Bounded
from aiotq.errors import StoreError
from aiotq.store.tallies import BOUNDS_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from prometheus_client.metrics_core import Metric

    from aiotq.inspection.values import Histogram, QueueInfo, Totals, WorkerInfo
    from aiotq.inspector import Inspector

    Series = tuple[str, tuple[str, ...]]  # a family, and the values of its labels

ZERO_FOR_S = 15.0  # for so long a counter that appears later is 0, whoever scrapes
OUTCOMES = ("succeeded", "failed", "retried", "cancelled")
STATES = ("working", "stopping", "late", "blocked", "gone")
LIVE = ("working", "stopping", "late", "blocked")


class Exporter:
    """Reads, and makes a page of it. tasks, queues: that are known before anything has happened there."""

    def __init__(
        self,
        inspector: Inspector,
        *,
        tasks: Iterable[str] = (),
        queues: Iterable[str] = (),
        clock: Callable[[], float] = monotonic,
        failed: Callable[[StoreError], object] = lambda _: None,
    ) -> None:
        """failed: is told of a server that does not answer."""
        self._inspector, self._clock, self._failed = inspector, clock, failed
        self._tasks, self._queues, self._growing = Bounded(), Bounded(), Growing(clock)
        self._known_tasks = dict.fromkeys(map(self._tasks, tasks))
        self._known_queues = dict.fromkeys(map(self._queues, queues))

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """A page in the format that is asked for, and that format. Never raises StoreError: aiotq_up says it."""
        return page_of(await self.families(), accept)

    async def families(self) -> list[Metric]:
        """What is exported now."""
        began_s = self._clock()
        try:
            queues, workers = await self._inspector.queues(), await self._inspector.workers()
            totals = await self._inspector.totals()
        except StoreError as error:
            self._failed(error)
            return [_gauge("aiotq_up", {(): 0})]
        found = [_gauge("aiotq_up", {(): 1}), *self._of_queues(queues, workers), *_of_workers(workers)]
        found += _of_totals(totals)
        found += self._counters(queues, totals)
        return [*found, _gauge("aiotq_collect_seconds", {(): self._clock() - began_s})]

    def _of_queues(self, queues: Sequence[QueueInfo], workers: Sequence[WorkerInfo]) -> list[Metric]:
        slots = Counter[str]()
        for worker in workers:
            if worker.state in LIVE:
                slots.update(dict.fromkeys(worker.queues, worker.slots or 0))
        # Who can enqueue can make queues up; those that workers serve have their names before.
        self._queues.learn(queue.name for queue in sorted(queues, key=lambda one: (-one.workers, -one.running)))
        by_family: dict[str, dict[tuple[str, ...], float]] = {}
        for queue in queues:
            label = self._queues(queue.name)
            for name, value in {
                "aiotq_queue_waiting": queue.waiting,
                "aiotq_queue_suspects": queue.suspects,
                "aiotq_queue_running": queue.running,
                "aiotq_queue_oldest_seconds": queue.oldest_age_s or 0,
                "aiotq_queue_paused": int(queue.paused),
                "aiotq_queue_workers": queue.workers,
                "aiotq_queue_slots": slots[queue.name],
            }.items():
                series = by_family.setdefault(name, {})
                known = series.get((label,), 0)
                series[label,] = max(known, value) if name.endswith(("_seconds", "_paused")) else known + value
        return [_gauge(name, series) for name, series in by_family.items()]

    def _counters(self, queues: Sequence[QueueInfo], totals: Totals) -> list[Metric]:
        """Of the store's counters, with zeros for what could be counted."""
        found = self._zeros(queues, totals)
        for name, number in totals.enqueued.items():
            found["aiotq_enqueued", (self._queues(name),)] += number
        for name, number in totals.ended.items():
            found["aiotq_ended", (self._queues(name),)] += number
        for (task, outcome), number in totals.tasks.items():
            found["aiotq_task_attempts", (self._tasks(task), outcome)] += number
        for task, took_s in totals.took_s.items():
            found["aiotq_task_seconds", (self._tasks(task),)] += took_s
        for outcome, number in totals.attempts.items():
            found[("aiotq_started", ()) if outcome == "started" else ("aiotq_attempts", (outcome,))] += number
        for name, times in {"aiotq_wait_seconds": totals.waited, "aiotq_run_seconds": totals.ran}.items():
            found.update(_flat(name, times))
        told = self._growing.told(totals.since, found)
        return [
            _histogram(name, told) if EXPORTED[name].kind == "histogram" else _counter(name, told)
            for name in dict.fromkeys(name for name, _ in told)
        ]

    def _zeros(self, queues: Sequence[QueueInfo], totals: Totals) -> defaultdict[Series, float]:
        busiest = Counter[str]()
        for (task, _), number in totals.tasks.items():
            busiest[task] += number
        self._tasks.learn(task for task, _ in busiest.most_common())
        zeros = defaultdict[Any, float](float)
        for queue in (*self._known_queues, *(self._queues(queue.name) for queue in queues)):
            zeros["aiotq_enqueued", (queue,)] = zeros["aiotq_ended", (queue,)] = 0.0
        for task in (*self._known_tasks, *map(self._tasks, busiest)):
            zeros["aiotq_task_seconds", (task,)] = 0.0
            for outcome in OUTCOMES:
                zeros["aiotq_task_attempts", (task, outcome)] = 0.0
        return zeros


class Growing:
    """Counters as they are told: none goes back before the month ends, and one that appears later begins at 0."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: datetime | None = None
        self._values: dict[Series, float] = {}
        self._came_s: dict[Series, float] = {}  # those that appeared later

    def told(self, since: datetime, found: Mapping[Series, float]) -> dict[Series, float]:
        """What to tell of what was found, and of what has been told before."""
        now_s, first = self._clock(), self._since is None
        if since != self._since:
            self._since, self._values = since, dict.fromkeys(self._values, 0.0)
        for series, value in found.items():
            known = self._values.get(series)
            if known is None and not first:
                self._came_s[series] = now_s
            self._values[series] = value if known is None else max(known, value)
        for series in [one for one, came_s in self._came_s.items() if now_s - came_s >= ZERO_FOR_S]:
            del self._came_s[series]
        return {series: 0.0 if series in self._came_s else value for series, value in self._values.items()}


def page_of(families: Iterable[Metric], accept: str = "") -> tuple[bytes, str]:
    """A page of them in the format that is asked for, and that format."""
    encode, kind = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Read(families))
    return encode(registry), kind


class _Read(Collector):
    """What was read, for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_workers(workers: Sequence[WorkerInfo]) -> list[Metric]:
    live = [worker for worker in workers if worker.state in LIVE]
    states = Counter(worker.state for worker in workers)
    return [
        _gauge("aiotq_workers", {(state,): states[state] for state in dict.fromkeys((*STATES, *states))}),
        _gauge("aiotq_slots", {(): sum(worker.slots or 0 for worker in live)}),
        _gauge("aiotq_slots_used", {(): sum(worker.used for worker in live)}),
        _gauge("aiotq_slots_stuck", {(): sum(worker.stuck for worker in live)}),
        _gauge("aiotq_workers_memory_bytes", {(): sum(worker.memory or 0 for worker in live)}),
    ]


def _of_totals(totals: Totals) -> list[Metric]:
    return [
        _gauge("aiotq_scheduled", {(): totals.scheduled}),
        _gauge("aiotq_scheduled_due", {(): totals.due}),
        _gauge("aiotq_dead", {(): totals.dead}),
    ]


def _gauge(name: str, series: Mapping[tuple[str, ...], float]) -> Metric:
    family = EXPORTED[name]
    made = GaugeMetricFamily(name, family.says, labels=family.labels)
    for labels, value in series.items():
        made.add_metric(labels, value)
    return made


def _counter(name: str, told: Mapping[Series, float]) -> Metric:
    family = EXPORTED[name]
    made = CounterMetricFamily(name, family.says, labels=family.labels)
    for (of, labels), value in told.items():
        if of == name:
            made.add_metric(labels, value)
    return made


def _flat(name: str, times: Histogram) -> dict[Series, float]:
    """A histogram as counters: its buckets by their index, then its sum."""
    return {(name, (str(index),)): count for index, count in enumerate(times.counts)} | {
        (name, ("sum",)): times.total_s
    }


def _histogram(name: str, told: Mapping[Series, float]) -> Metric:
    counted, buckets = 0.0, list[tuple[str, float]]()
    for index, bound in enumerate((*(str(bound_ms / 1000) for bound_ms in BOUNDS_MS), "+Inf")):
        counted += told.get((name, (str(index),)), 0)
        buckets.append((bound, counted))
    return HistogramMetricFamily(name, EXPORTED[name].says, buckets=buckets, sum_value=told.get((name, ("sum",)), 0.0))
