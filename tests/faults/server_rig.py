"""A server of either kind that is put into a state of trouble, a worker on it with a health port, and a sender.

await rig.start_server()
watched = await Watched.start(rig)        # a worker that is ready
await rig.config(min_replicas_to_write=1)
await watched.unready("the store refuses (NOREPLICAS)")
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aiotq import App
from aiotq.errors import StoreError, StoreUnavailable
from tests import servers
from tests.faults.invariants import Told, Took
from tests.faults.stopwatch import Stopwatch
from tests.probing import Answer, Probe, cpu_s
from tests.process.ledger import until
from tests.process.rig import Rig
from tests.process.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiotq import Job
    from tests.processes import WorkerProcess

CONNECT_TIMEOUT_S = 1.0
MARGIN_S = 1.0  # for a machine that has other things to do
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
SLOWLY = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")  # 1 ms a key
OTHER_KEYS = 20_000
TROUBLE = {"store_down", "store_refuses", "store_up", "duty_fails", "duty_works", "lease_lost"}


@dataclass(kw_only=True)
class ServerRig(Rig):
    """A `Rig` whose server may be of either kind."""

    kind: servers.Kind = "valkey"
    busy: asyncio.Task[Any] | None = None
    locked: tuple[str, ...] = ()  # options of the server that set a password
    refused: set[str] = field(default_factory=set[str])  # ids of jobs whose `delay()` raised: they are nowhere
    unsure: set[str] = field(default_factory=set[str])  # ... and of those that may have been queued all the same
    times: list[Took] = field(default_factory=list[Took])
    _data: str = "data"
    _senders: list[App] = field(default_factory=list[App])

    async def start_server(self, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start it, or start it again on what it has stored. Its data lie in a folder below its socket's."""
        data = self.folder / self._data
        data.mkdir(exist_ok=True)
        running = servers.running(self.kind, self.folder, "--dir", str(data), *self.locked, *options, env=env)
        server = await asyncio.to_thread(self._server.enter_context, running)
        assert server.pid is not None
        if self.raw is None:
            await self._open.enter_async_context(self.app)
        self.pid, self.raw = server.pid, Redis.from_url(self.url, max_connections=1)

    async def over(self, jobs: Sequence[Job[Any]], *workers: WorkerProcess) -> None:
        """All has ended, the workers as well: check the invariants."""
        await self.all_ended([*jobs, *map(self.app.job, self.unsure)])
        await self.stop(*workers)
        acked = [job.id for job in jobs]
        told = Told(acked=acked, refused=self.refused, unsure=self.unsure)
        await self.check(jobs, told=told, times=self.times)

    def took(self, stopwatch: Stopwatch, what: str, limit_s: float) -> None:
        """Note how long something took: `over` looks at it."""
        self.times.append(stopwatch.took(what, limit_s))
        self.measured(f"{self.kind}: {what} took {self.times[-1].took_s:.2f} s of {self.times[-1].limit_s:.2f} s")

    async def sender(self) -> Tasks:
        """The tasks of an app that has connected, and waits for a second at most."""
        app = App(self.url, namespace=self.namespace, connect_timeout=CONNECT_TIMEOUT_S)
        await self._open.enter_async_context(app)
        return Tasks(app)

    def stranger(self) -> Tasks:
        """The same of an app that has never connected."""
        app = App(self.url, namespace=self.namespace, connect_timeout=CONNECT_TIMEOUT_S)
        self._senders.append(app)
        return Tasks(app)

    async def config(self, **settings: object) -> None:
        """CONFIG SET, `-` written as `_`."""
        for name, value in settings.items():
            await self.raw.config_set(name.replace("_", "-"), value)

    async def run_endless_script(self) -> None:
        """From now on the server answers BUSY, until SCRIPT KILL."""
        await self.config(lua_time_limit=100)
        looping: Any = Redis.from_url(self.url, socket_timeout=None)

        async def loop() -> None:
            with suppress(RedisError):  # it is killed
                await looping.eval("while true do end", 0)
            await looping.aclose()

        self.busy = asyncio.create_task(loop())

    async def until_says(self, word: str) -> None:
        """Until it answers so."""

        async def says() -> bool:
            try:
                await self.raw.get("nothing")
            except RedisError as error:
                return word in str(error)
            return False

        await until(says, f"the server says {word}")

    async def kill_script(self) -> None:
        """End it."""
        assert self.busy is not None
        while not self.busy.done():
            with suppress(RedisError):
                await self.raw.script_kill()
            await asyncio.wait([self.busy], timeout=0.05)

    async def kill_clients(self) -> None:
        """Cut every connection but the test's own."""
        await self.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await self.raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")

    def lose_data_folder(self) -> None:
        """Under a running server, which can't save any more then."""
        shutil.rmtree(self.folder / self._data)

    async def fill(self, keys: int = OTHER_KEYS) -> None:
        """Keys of somebody else, so that loading takes a while. Skips the test where nothing is answered meanwhile."""
        servers.skip_if_it_loads_in_one_go(self.kind)
        await self.raw.execute_command("DEBUG", "POPULATE", keys, "other", 30)

    async def close(self) -> None:
        for app in self._senders:
            await app._core.close()
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
        if self.busy is not None:
            self.busy.cancel()
            await asyncio.wait([self.busy])
        await super().close()


@dataclass(kw_only=True)
class Watched:
    """A worker with a health port, and what it has said of its store."""

    rig: ServerRig
    worker: WorkerProcess
    probe: Probe

    @classmethod
    async def start(cls, rig: ServerRig, *options: str, url: str | None = None) -> Watched:
        """One that is ready."""
        worker = await rig.worker("--health-port", "0", *options, ready=False, url=url)
        made = cls(rig=rig, worker=worker, probe=Probe.of((await worker.line("ready"))["health"]))
        await made.probe.until(200, "ok")
        return made

    def said(self) -> Counter[str]:
        """How often it has said what of its store."""
        found = Counter[str]()
        for event in TROUBLE:
            found[event] = self.worker.text.count(f'"event":"{event}"')
        return +found

    async def unready(self, reason: str) -> None:
        """Until it is not ready for that reason; it is live all the while."""
        await self.probe.until(503, reason)
        assert await self.probe.get("livez") == Answer(status=200, text="ok")

    @asynccontextmanager
    async def few_warnings(self) -> AsyncIterator[None]:
        """Within it, the worker may not warn, or say an error, ten times a second."""
        began_s, before = time.monotonic(), self._warnings()
        yield
        rate = (self._warnings() - before) / (time.monotonic() - began_s)
        assert rate < 10, f"{rate:.1f} lines/s"

    def _warnings(self) -> int:
        return sum(self.worker.text.count(f'"level":"{level}"') for level in ("warning", "error"))

    @asynccontextmanager
    async def calm(self) -> AsyncIterator[None]:
        """Within it, the worker may not use more than a fifth of a core, nor say more than ten lines a second."""
        began_s, used_s, lines = time.monotonic(), cpu_s(self.worker), len(self.worker.output)
        yield
        took_s = time.monotonic() - began_s
        share = (cpu_s(self.worker) - used_s) / took_s
        rate = (len(self.worker.output) - lines) / took_s
        self.rig.measured(f"within {took_s:.1f} s: {share:.1%} of a core, {rate:.1f} lines/s")
        assert share < 0.2
        assert rate < 10


async def refused(
    rig: ServerRig, tasks: Tasks, kind: type[StoreError], code: str | None, *, or_away: bool = False
) -> StoreError:
    """`delay()` raises that, in time. or_away: or that nobody answers, as it may be where others have the cores."""
    job_id = f"told-{len(rig.refused) + len(rig.unsure)}"
    began_s, stopwatch = time.monotonic(), Stopwatch(rig.pid)
    with pytest.raises(StoreError) as caught:
        await tasks.note.options(job_id=job_id).delay()
    took_s, error = time.monotonic() - began_s, caught.value
    late = stopwatch.starved_s > CONNECT_TIMEOUT_S / 4
    (rig.unsure if getattr(error, "sent", False) else rig.refused).add(job_id)
    assert took_s < CONNECT_TIMEOUT_S + MARGIN_S + min(stopwatch.starved_s, 2.0), f"took {took_s:.2f} s"
    expected = [(kind, code), (StoreUnavailable, None)][: 1 + (or_away or late)]
    assert (type(error), getattr(error, "code", None)) in expected, repr(error)
    return error
