"""What a worker says of its jobs: to its report, and to its app's observers if there are any."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aiotq.hooks import Attempt
from aiotq.job import Returned
from aiotq.worker.held import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiotq.hooks import Hooks
    from aiotq.registry import Registry
    from aiotq.worker.held import Held
    from aiotq.worker.report import Report


class Watch:
    """What is seen of one worker's jobs."""

    def __init__(self, hooks: Hooks, report: Report, registry: Registry, *, label: str) -> None:
        """report: is told first. label: the worker's."""
        self._tell, self._label, self._report, self._registry = hooks.tell, label, report, registry
        self.on = hooks.watched
        self.started: Callable[[Held], None] = self._started if self.on else report.started
        self.void: Callable[[Held], None] = self._void if self.on else report.void

    def _started(self, held: Held) -> None:
        self._report.started(held)
        self._tell("started", self._attempt(held))

    def _void(self, held: Held) -> None:
        self._report.void(held)
        if _was_seen(held):
            self._tell("lost", self._attempt(held, ended=True))

    def claimed(self, jobs: Sequence[Held], took_s: float) -> None:
        """Jobs were claimed and looked at; those whose record is still to be read are left out."""
        if not self.on:
            return
        told = [self._attempt(held) for held in jobs if held.record is not None and held.outcome is None]
        if told:
            self._tell("claimed", told, took_s)

    def decided(self, jobs: Sequence[Held], mine: Sequence[Held]) -> None:
        """Jobs have their outcomes; those that are not `mine` are another worker's now."""
        self._report.decided(mine, monotonic())
        if not self.on:
            return
        for held in jobs:
            if held.why is Why.LOST:
                self._tell("lost", self._attempt(held, ended=True))
            elif _was_seen(held):
                self._tell("ended", self._attempt(held, ended=True), held.outcome)

    def _attempt(self, held: Held, *, ended: bool = False) -> Attempt:
        doc = None if held.record is None else held.record.doc
        waited_s = took_s = None
        if held.started_ms is not None and held.record is not None and doc is not None:
            due_ms = doc.due_ms or held.record.enqueued_ms + (doc.delay_ms or 0)
            waited_s = max(0, held.started_ms - due_ms) / 1000
            took_s = monotonic() - held.started_s if ended else None
        return Attempt(
            id=held.job_id,
            task=held.name,
            known=held.task is not None or (doc is not None and self._registry.get(doc.task) is not None),
            queue=held.queue,
            number=held.attempt,
            fence=held.fence,
            worker=self._label,
            headers=(doc.headers if doc is not None else None) or {},
            waited_s=waited_s,
            took_s=took_s,
        )


def _was_seen(held: Held) -> bool:
    """Whether anything happened to it here: it was started, or decided in another way than to be put back."""
    return held.handle is not None or not isinstance(held.outcome, Returned)
