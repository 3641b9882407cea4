"""The load of a chaos run: producers that send jobs of every kind, and note what they were told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiotq import App
from aiotq.errors import JobError, StoreError, StoreUnavailable
from tests.faults.invariants import Told
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    import random

    from aiotq import Job

SEND_EVERY_S = 0.03
CONNECT_TIMEOUT_S = 2.0
KINDS = {"note": 40, "nap": 30, "nap_in_thread": 10, "stumble": 10, "carry": 5, "long": 3, "expiring": 2}
DURABLE_SHARE = 0.1
SIZES = (10, 10, 10, 17_000, 100_000)  # the last two are too large to come with a claim


@dataclass(kw_only=True)
class Account:
    """What all producers were told, by the ids of their jobs."""

    acked: dict[str, float] = field(default_factory=dict[str, float])  # when: monotonic
    unsure: dict[str, float] = field(default_factory=dict[str, float])  # when that was said last
    refused: set[str] = field(default_factory=set[str])
    cancelled: set[str] = field(default_factory=set[str])  # or may have expired
    durable: set[str] = field(default_factory=set[str])  # whoever was told of these was told that they are safe
    poison: set[str] = field(default_factory=set[str])  # these kill their workers
    failures: dict[str, int] = field(default_factory=dict[str, int])
    kinds: Counter[str] = field(default_factory=Counter[str])
    errors: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )  # what was said instead of an answer
    awaited: int = 0  # results that were waited for, and came

    @property
    def told(self) -> Told:
        """As the invariants want it."""
        return Told(acked=self.acked, unsure=self.unsure, refused=self.refused, cancelled=self.cancelled)


class Producer:
    """A service: one app, one connection to the server, some jobs a second."""

    def __init__(self, name: str, url: str, *, namespace: str, dice: random.Random, account: Account) -> None:
        self._name, self._dice, self._account = name, dice, account
        self._app = App(url, namespace=namespace, connect_timeout=CONNECT_TIMEOUT_S)
        self._tasks = Tasks(self._app)
        self._count = 0

    async def run(self, over: asyncio.Event, waiters: asyncio.TaskGroup) -> None:
        """Send until it is over. What is cancelled or waited for later goes to `waiters`, and keeps the app open."""
        while not over.is_set():
            self._count += 1
            waiters.create_task(self._one(f"{self._name}-{self._count}"))
            await asyncio.sleep(SEND_EVERY_S)  # the pace of the load

    async def close(self) -> None:
        """Once nobody uses it any more."""
        async with self._app:  # the client that `delay` has opened by itself
            pass

    async def _one(self, job_id: str) -> None:
        dice, account = self._dice, self._account
        awaits, cancels_after_s = dice.random() < 0.3, dice.random() if dice.random() < 0.05 else None
        task, arguments = self._draw(job_id)
        job = await self._enqueue(task, arguments, job_id)
        if job is None:
            return
        if cancels_after_s is not None:
            await asyncio.sleep(cancels_after_s)  # a part of the load
            account.cancelled.add(job_id)
            account.kinds["cancelled"] += 1
            try:
                await job.cancel()
            except (StoreError, JobError):
                pass  # it may have been heard, or not; or the job was lost with the server's data
        if awaits:
            await self._await(job)

    def _draw(self, job_id: str) -> tuple[Any, tuple[Any, ...]]:
        dice, tasks = self._dice, self._tasks
        options: dict[str, Any] = {"job_id": job_id, "priority": dice.choice([0, 5, 9]), "lifo": dice.random() < 0.1}
        if dice.random() < 0.2:
            options["countdown"] = dice.random()
            self._account.kinds["delayed"] += 1
        if dice.random() < DURABLE_SHARE:
            options["durable"] = True
            self._account.durable.add(job_id)
            self._account.kinds["durable"] += 1
        kind = dice.choices(list(KINDS), weights=list(KINDS.values()))[0]
        self._account.kinds[kind] += 1
        if kind == "stumble":
            self._account.failures[job_id] = 2
        if kind == "expiring":
            options["expires"] = 1 + dice.random()
            self._account.cancelled.add(job_id)
        kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "note": (tasks.note, ()),
            "expiring": (tasks.note, ()),
            "nap": (tasks.nap, (dice.random() / 10,)),
            "long": (tasks.nap, (1 + 3 * dice.random(),)),
            "nap_in_thread": (tasks.nap_in_thread, (dice.random() / 10,)),
            "stumble": (tasks.stumble, (2,)),
            "carry": (tasks.carry, ("x" * dice.choice(SIZES),)),
        }
        task, arguments = kinds[kind]
        return task.options(**options), arguments

    async def _enqueue(self, task: Any, arguments: tuple[Any, ...], job_id: str) -> Job[Any] | None:
        """Enqueue it; now and then again under its id, if nobody knows whether it was."""
        account, again = self._account, self._dice.random() < 0.5
        for _ in range(1 + again):
            try:
                job: Job[Any] = await task.delay(*arguments)
            except StoreError as error:
                account.errors[job_id].append(f"{time.monotonic():.2f} {type(error).__name__}: {error}")
                if isinstance(error, StoreUnavailable) and error.sent:
                    account.unsure[job_id] = time.monotonic()
                    account.refused.discard(job_id)
                elif job_id not in account.unsure:
                    account.refused.add(job_id)
            else:
                account.acked[job_id] = time.monotonic()
                account.unsure.pop(job_id, None)
                account.refused.discard(job_id)
                return job
        return None

    async def _await(self, job: Job[Any]) -> None:
        while True:
            try:
                await job.result()
            except StoreError:
                await asyncio.sleep(0.1)  # the server is away, and nobody tells when it is back: asked again
                continue
            except JobError:
                pass  # cancelled, expired, or killed with too many workers
            self._account.awaited += 1
            return
