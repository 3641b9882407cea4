"""What a diagnosis is made from: what was read, and nothing that asks."""

from __future__ import annotations

from dataclasses import dataclass

from aiotq.inspection.values import Check, Counts, FailureGroup, JobSummary, QueueInfo, ServerInfo, TaskInfo, WorkerInfo

LATELY_MIN = 10  # minutes that "lately" means


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A task that jobs name and no worker that took them knew."""

    task: str
    count: int  # of those that were looked at
    job_id: str  # one of them
    nearest: str | None = None  # a known name that looks like it


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """All that was seen at one moment."""

    server: ServerInfo
    refusal: str | None = None  # why the server takes no writes: "OOM", "READONLY", "LOADING", "MISCONF"
    cli: str = "redis-cli"  # with the options that lead to the server
    ails: tuple[Check, ...] = ()  # what `doctor` finds critical
    queues: tuple[QueueInfo, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()
    minutes: tuple[Counts, ...] = ()  # oldest first
    failures: tuple[FailureGroup, ...] = ()
    tasks: tuple[TaskInfo, ...] = ()  # lately
    scheduled: int = 0
    overdue_s: float | None = None  # for how long the first of the scheduled jobs has been due
    dead: int = 0
    dead_lately: int = 0
    poison: tuple[JobSummary, ...] = ()  # whose workers vanished twice or more: those that wait or run, and dead ones
    strangers: tuple[Stranger, ...] = ()
    misspelt: tuple[Stranger, ...] = ()  # perhaps: at the front of queues from which nobody takes any
    newer: tuple[
        JobSummary, ...
    ] = ()  # put back lately, since their records are of a newer version: those that were seen
    aside: tuple[str, ...] = ()  # keys

    @property
    def live(self) -> tuple[WorkerInfo, ...]:
        """The workers whose lease holds."""
        return tuple(worker for worker in self.workers if worker.state not in {"late", "gone"})

    @property
    def held_up(self) -> tuple[QueueInfo, ...]:
        """Queues where jobs wait and all that serve them stand still."""
        return tuple(queue for queue in self.queues if queue.held_up)

    @property
    def waiting(self) -> int:
        """Jobs in all queues, but those where only tickets of jobs that are gone were seen."""
        return sum(queue.waiting for queue in self.queues if not queue.leftovers)
