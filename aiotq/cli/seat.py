"""What a worker's process does for its supervisor: says who it is, heeds its word, and asks to be replaced in time."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiotq.cli.mistake import Mistake
from aiotq.cli.options import LogFormat, WorkerOptions
from aiotq.supervisor.link import Link
from aiotq.supervisor.memory import resident_bytes, watched_memory
from aiotq.supervisor.words import Full, Ready, Registered, Retired
from aiotq.worker.worker import Supervised, Worker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from aiotq.settings import AppSettings
    from aiotq.source import Source

MIB = 1 << 20

log = logging.getLogger("aiotq.cli")


@dataclass(slots=True, kw_only=True)
class Seated:
    """A worker under a supervisor, before and while it runs."""

    link: Link
    worker: Worker
    options: WorkerOptions
    why: str = "--max-jobs"  # it is to be replaced
    early: bool = False  # ... before it has ended a job
    changed: bool = False  # ... as the code has changed

    def attach(self, source: Source, settings: AppSettings) -> None:
        """Before the worker starts. Raises Mistake where several processes can't share the server."""
        if source.url.startswith("memory://"):
            raise Mistake(
                f"{source} lives and ends with one process; a server is expected that several can reach",
                "leave out --processes, --max-jobs, --max-memory and --reload, or name a Redis, or --url embedded://",
            )
        worker, link = self.worker, self.link
        lease_s = settings.lease_s if self.options.lease_s is None else self.options.lease_s

        def registered(worker_id: str | None) -> None:
            if worker_id is None:
                link.tell(Retired())
            else:
                told = Registered(url=source.url, namespace=settings.namespace, worker_id=worker_id, lease_s=lease_s)
                link.tell(told)

        worker.supervised = Supervised(
            registered=registered, full=self._full, max_jobs=self.options.max_jobs, first=link.seat.first
        )

    def ready(self) -> None:
        """It works. Raises Mistake if it takes too much memory without having run a job: so will all that follow."""
        limit, taken = self.options.max_memory, resident_bytes()
        if limit is not None and taken > limit and self.link.seat.first:
            raise Mistake(
                f"a worker takes {_mib(taken)} before its first job, and --max-memory allows {_mib(limit)}",
                f"allow it more, as in --max-memory {2 * taken // MIB + 1}MiB",
            )
        self.link.tell(Ready())

    @contextmanager
    def attended(self, loop: asyncio.AbstractEventLoop, stop: Callable[..., None]) -> Generator[None]:
        """Within it, the supervisor's word is heeded, and its end is a gentle stop."""

        def gone() -> None:
            log.warning("the supervisor has gone: stopping", extra={"event": "orphaned"})
            stop()

        with self.link.listening(loop, now=lambda: stop(now=True), gone=gone, drain=self._drain):
            yield

    @contextmanager
    def measured(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """Within it, the memory is looked at."""
        with ExitStack() as stack:
            if self.options.max_memory is not None:
                stack.enter_context(
                    watched_memory(
                        loop,
                        limit=self.options.max_memory,
                        done=lambda: sum(self.worker.tally.values()),
                        over=self._over,
                    )
                )
            yield

    def _over(self, taken: int) -> None:
        self.why, self.early = f"--max-memory: it takes {_mib(taken)}", not sum(self.worker.tally.values())
        self.worker.drain()

    def _drain(self) -> None:
        """There is newer code: what this process holds ends on the old one."""
        self.changed = True
        if self.options.log_format is LogFormat.TEXT:  # one line for each change is the supervisor's
            logging.getLogger("aiotq.worker").addFilter(lambda record: getattr(record, "event", "") != "stopped")
        self.worker.drain()

    def _full(self) -> None:
        if self.changed:
            jobs = self.worker.in_hand
            told = "%d job%s on with the code of before"
            extra = {"event": "recycled", "reason": "--reload", "running": jobs}
            log.log(logging.INFO if jobs else logging.DEBUG, told, jobs, " goes" if jobs == 1 else "s go", extra=extra)
            return
        told = "claims no more and is replaced (%s)"
        log.info(told, self.why, extra={"event": "recycled", "reason": self.why})
        self.link.tell(Full(early=self.early))


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
