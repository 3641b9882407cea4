"""Once threads, or processes, were the bottleneck: for a moment no more is claimed than there are free ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.worker.settings import THREAD_BOUND_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiotq.worker.held import Held
    from aiotq.worker.run import Runner


class Bounds:
    """Times are monotonic."""

    def __init__(self) -> None:
        self.until_s = 0.0  # none holds after that
        self._threads_until_s = 0.0
        self._processes_until_s = 0.0

    def notice(self, given_back: Iterable[Held], *, now_s: float) -> None:
        """These could not be started in time."""
        for held in given_back:
            if held.threaded:
                self.until_s = self._threads_until_s = now_s + THREAD_BOUND_S
            elif held.pooled:
                self.until_s = self._processes_until_s = now_s + THREAD_BOUND_S

    def free(self, runner: Runner, *, now_s: float) -> int:
        """Free slots of the kind that is short."""
        threads = runner.free_threads if now_s < self._threads_until_s else runner.free
        return min(threads, runner.free_processes) if now_s < self._processes_until_s else threads
