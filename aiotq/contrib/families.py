"""The names of Prometheus metrics, with what they say: those of the exporter, and those of a worker's own page.

The dashboard and the rules in docs/monitoring go by them; a test holds these to this list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OTHER = "(other)"  # what there was no room for
UNKNOWN = "(unknown)"  # tasks that the worker does not know: anybody may have made their names up
MOST_NAMES = 200  # of tasks, and of queues, in one family
MOST_LABEL = 200  # characters of a name


class Family(Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    says: str
    labels: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which its series are stored."""
        match self.kind:
            case "counter":
                return (f"{self.name}_total",)
            case "histogram":
                return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
            case _:
                return (self.name,)


def _by_name(*families: Family) -> Mapping[str, Family]:
    return {family.name: family for family in families}


def _gauge(name: str, says: str, *labels: str) -> Family:
    return Family(name=name, kind="gauge", says=says, labels=labels)


def _counter(name: str, says: str, *labels: str) -> Family:
    return Family(name=name, kind="counter", says=says, labels=labels)


def _histogram(name: str, says: str, *labels: str) -> Family:
    return Family(name=name, kind="histogram", says=says, labels=labels)


# What `aiotq metrics` reads out of the store, the same for all workers together.
EXPORTED = _by_name(
    _gauge("aiotq_up", "Whether the server answered: 1, or 0, and then nothing else is said."),
    _gauge("aiotq_collect_seconds", "How long asking it took."),
    _gauge("aiotq_queue_waiting", "Jobs that wait in a queue.", "queue"),
    _gauge("aiotq_queue_suspects", "Of these, jobs whose worker vanished twice or more.", "queue"),
    _gauge("aiotq_queue_running", "Jobs of a queue in workers' hands.", "queue"),
    _gauge("aiotq_queue_oldest_seconds", "How long the job that waits longest has been ready.", "queue"),
    _gauge("aiotq_queue_paused", "Whether nothing is claimed from a queue: 1 or 0.", "queue"),
    _gauge("aiotq_queue_workers", "Live workers that serve a queue.", "queue"),
    _gauge("aiotq_queue_slots", "Slots of the live workers that serve a queue, and perhaps others too.", "queue"),
    _gauge("aiotq_scheduled", "Jobs in the schedule."),
    _gauge("aiotq_scheduled_due", "Of these, jobs that are due."),
    _gauge("aiotq_dead", "Dead letters."),
    _gauge("aiotq_workers", "Workers by how they do: working, stopping, late, blocked, gone.", "state"),
    _gauge("aiotq_slots", "Slots of all live workers."),
    _gauge("aiotq_slots_used", "Of these, slots that hold a job."),
    _gauge("aiotq_slots_stuck", "Of these, slots whose job can't be ended."),
    _gauge("aiotq_workers_memory_bytes", "Memory of all live workers' processes."),
    _counter("aiotq_enqueued", "Jobs that were enqueued.", "queue"),
    _counter("aiotq_ended", "Jobs that ended.", "queue"),
    _counter("aiotq_started", "Attempts that began."),
    _counter("aiotq_attempts", "Attempts by what they came to, or that their worker was lost.", "outcome"),
    _counter("aiotq_task_attempts", "Attempts at a task, by what they came to.", "task", "outcome"),
    _counter("aiotq_task_seconds", "Seconds that attempts at a task took.", "task"),
    _histogram("aiotq_wait_seconds", "From when a job is due to when an attempt begins."),
    _histogram("aiotq_run_seconds", "How long attempts took."),
)

# What the observer `Prometheus` measures in one process.
WORKER = _by_name(
    _counter("aiotq_worker_enqueued", "Jobs that this process enqueued.", "task", "queue"),
    _counter("aiotq_worker_attempts", "Attempts that ended here, by outcome.", "task", "queue", "outcome"),
    _counter("aiotq_worker_lost", "Jobs that other workers took away from here.", "task", "queue"),
    _histogram("aiotq_worker_wait_seconds", "From when a job is due to when an attempt begins.", "task", "queue"),
    _histogram("aiotq_worker_run_seconds", "How long attempts took.", "task", "queue"),
    _gauge("aiotq_worker_slots", "Slots of the workers in this process."),
    _gauge("aiotq_worker_slots_used", "Of these, slots that hold a job."),
)


class Bounded:
    """The first so many names; what comes after them is one."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The label of a name."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= self._most:
                return OTHER
            known = self._known[name] = name[:MOST_LABEL].encode(errors="backslashreplace").decode()
        return known

    def learn(self, names: Iterable[str]) -> None:
        """Take these before others."""
        for name in names:
            self(name)
