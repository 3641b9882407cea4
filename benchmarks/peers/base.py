"""What the driver asks of a queue. Each peer's module defines `peer`, an object of one of these classes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

URL = os.environ.get("BENCH_URL", "redis://localhost:6379")
PYTHON = sys.executable
CONCURRENCY = 100  # jobs at once in an asyncio worker, for every peer alike


def script(name: str) -> str:
    """A console script of the peer's own environment."""
    return str(Path(sys.executable).with_name(name))


def quiet() -> None:
    """No log line a job, whatever the peer's default: those cost some of them a tenth of their rate and more."""
    logging.disable(logging.INFO)


class Peer:
    """What all have in common.

    name: the package whose version is shown. workers: one command line a worker process to start;
    schedulers: those to start beside them for delayed jobs.
    slots: how many waiting jobs it runs at once. jobs_s: about how many no-op jobs it drains in a second; how many jobs
    a measurement takes follows from it, nothing else. setup: what was set and why, for the table's readers.
    skip: why it can't be measured here, if so.
    """

    name: ClassVar[str]
    workers: ClassVar[list[list[str]]]
    schedulers: ClassVar[list[list[str]]] = []
    slots: ClassVar[int] = CONCURRENCY
    jobs_s: ClassVar[int] = 1_000
    bulk: ClassVar[bool] = True
    delays: ClassVar[bool] = True
    setup: ClassVar[str]

    def skip(self) -> str:
        """Why it can't be measured here; empty if it can."""
        return ""


class AsyncPeer(Peer):
    """A queue with an asyncio interface."""

    async def open(self) -> None:
        """Connect."""

    async def fresh(self) -> None:
        """All keys are gone: declare again what must be there before the first job."""

    async def close(self) -> None:
        """Disconnect."""

    def enqueue(self, task: str, *args: Any) -> Awaitable[Any]:
        """Enqueue one job; what is awaited is its handle."""
        raise NotImplementedError

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Awaitable[Any]:
        """Enqueue one job that is due later."""
        raise NotImplementedError

    async def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        """Enqueue many in the fastest way that its docs show."""
        raise NotImplementedError

    async def result(self, handle: Any) -> Any:
        """Wait for the job's result."""
        raise NotImplementedError


class SyncPeer(Peer):
    """A queue with a blocking interface. 100 callers are 100 threads."""

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Disconnect."""

    def enqueue(self, task: str, *args: Any) -> Any:
        """Enqueue one job and return its handle."""
        raise NotImplementedError

    def enqueue_in(self, delay_s: float, task: str, *args: Any) -> Any:
        """Enqueue one job that is due later."""
        raise NotImplementedError

    def enqueue_bulk(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        """Enqueue many in the fastest way that its docs show."""
        raise NotImplementedError

    def result(self, handle: Any) -> Any:
        """Wait for the job's result."""
        raise NotImplementedError
