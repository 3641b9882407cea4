"""What is seen of a rig besides its ledger: samples of the store during a fault, and what is held before and after."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.faults.invariants import Load, growth
from tests.faults.vitals import load_of
from tests.model import census
from tests.process.ledger import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.processes import WorkerProcess

LOOKER = "rig"  # the name of the connections by which a rig looks at its server
SAMPLE_EVERY_S = 0.3
SAMPLE_WITHIN_S = 1.0  # a server that has frozen is not sampled
SETTLES_WITHIN_S = 10.0  # what was opened to replace something is closed by then
CALM_S = 1.0  # nothing has changed for so long: one that is just ready opens its keeper's connections a moment later


async def sample(raw: Any, prefix: str) -> census.Census:
    """All keys as they lie in the store at one moment."""
    return census.build(await raw.eval(census.DUMP, 0, census.pattern(prefix)), prefix)


async def clients_of(raw: Any, pid: int) -> Load:
    """How many connections a server has."""
    # Those who look have a pool, which grows when they look at several things at once.
    return Load(pid=pid, clients=sum(client["name"] != LOOKER for client in await raw.client_list()))


@dataclass(kw_only=True)
class Witness:
    """What has been seen."""

    samples: list[census.Census] = field(default_factory=list[census.Census])
    settled: list[tuple[Load, Load]] = field(default_factory=list[tuple[Load, Load]])
    _before: dict[int, Load] = field(default_factory=dict[int, Load])  # by pid
    _server: Load | None = None

    @asynccontextmanager
    async def sampling(self, raw: Any, url: str, prefix: str) -> AsyncIterator[None]:
        """Sample the store again and again while the context lasts: also while it is in trouble, if it answers."""
        over = asyncio.Event()
        client: Any = Redis.from_url(
            url, socket_timeout=SAMPLE_WITHIN_S, retry=Retry(NoBackoff(), 0), client_name=LOOKER
        )

        async def go_on() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAMPLE_EVERY_S):
                        await over.wait()
                with suppress(RedisError, OSError):  # the fault
                    self.samples.append(await sample(client, prefix))

        self.samples.append(await sample(raw, prefix))
        sampling = asyncio.create_task(go_on())
        try:
            yield
        finally:
            over.set()
            await sampling
            await client.aclose()

    async def baseline(self, raw: Any, server: int, workers: Iterable[WorkerProcess]) -> None:
        """Note what the server and these workers hold before a fault: once nothing of it comes or goes any more."""
        lasting = [worker for worker in workers if worker.process.returncode is None]
        held: list[int] = []
        since_s = time.monotonic()

        async def calm() -> bool:
            nonlocal held, since_s
            look = [load_of(worker).fds for worker in lasting]
            look.append((await clients_of(raw, server)).clients)
            if look != held:
                held, since_s = look, time.monotonic()
            return time.monotonic() - since_s >= CALM_S

        with suppress(AssertionError):  # they are at work
            await until(calm, "what is held does not change", within_s=SETTLES_WITHIN_S)
        self._before = {worker.pid: load_of(worker) for worker in lasting}
        self._server = await clients_of(raw, server)

    async def settle(self, raw: Any, server: int, workers: Iterable[WorkerProcess]) -> None:
        """Of workers with a baseline: wait a while for what they hold to be as before, and note what it is."""
        noted = [worker for worker in workers if worker.pid in self._before and worker.process.returncode is None]
        if not noted or self._server is None:
            return
        pairs: list[tuple[Load, Load]] = []

        async def modest() -> bool:
            pairs[:] = [(self._before[worker.pid], load_of(worker)) for worker in noted]
            if self._server is not None:
                pairs.append((self._server, await clients_of(raw, server)))
            return not any(text for before, after in pairs for text in growth(before, after))

        with suppress(AssertionError):  # I6 says it, and what else is wrong
            await until(modest, "what is held is as before", within_s=SETTLES_WITHIN_S)
        self.settled += pairs
