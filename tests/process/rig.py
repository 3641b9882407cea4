"""A place to break things in: a server of the test's own, worker processes on it, and the ledger of what they ran."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from aiotq import App
from tests import servers
from tests.faults.invariants import Allowed, Evidence, Exit, Told, violations
from tests.model import census
from tests.process.ledger import WITHIN_S, Ends, Ledger, until
from tests.process.tasks import Tasks
from tests.process.witness import LOOKER, Witness, sample
from tests.processes import WorkerProcess, spawn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from aiotq import Job
    from tests.faults.invariants import Load, Took
    from tests.process.warm import Warm

TARGET = "tests.process.tasks:app"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
LOOKED_AT_ONCE = 500
PATIENCE_S = 60.0  # of the rig's own connection: a machine may have other things to do


@dataclass(kw_only=True)
class Rig:
    """One server, one namespace, one ledger."""

    folder: Path
    namespace: str
    url: str = ""
    raw: Any = None
    ledger: Ledger = field(init=False)
    app: App = field(init=False)
    tasks: Tasks = field(init=False)
    ends: Ends | None = None
    pid: int = 0  # the server's
    warm: Warm | None = None  # what runs its commands; None: each starts anew
    _server: ExitStack = field(default_factory=ExitStack)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    crew: list[WorkerProcess] = field(default_factory=list[WorkerProcess])
    others: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])
    exits: list[Exit] = field(default_factory=list[Exit])
    witness: Witness = field(default_factory=Witness)

    def __post_init__(self) -> None:
        self.ledger = Ledger(path=self.folder / "ledger")
        self.url = f"unix://{self.folder / 's'}"
        self.app = App(self.url, namespace=self.namespace)
        self.tasks = Tasks(self.app)

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return f"{{{self.namespace}}}:"

    # --- the server ---------------------------------------------------------------------------------------------

    async def start_server(self, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start the server in the rig's folder: again with what it has there, if it is durable."""
        starting = servers.running("valkey", self.folder, *options, env=env)
        server = await asyncio.to_thread(self._server.enter_context, starting)
        assert server.pid is not None
        if self.raw is None:
            await self._open.enter_async_context(self.app)
        self.pid, self.raw = server.pid, Redis.from_url(self.url, socket_timeout=PATIENCE_S, client_name=LOOKER)

    async def until_loading(self) -> None:
        """Until a starting server says that it loads its data."""

        async def loads() -> bool:
            try:
                async with Redis.from_url(self.url) as client:
                    await client.get("nothing")
            except BusyLoadingError:
                return True
            except RedisError:  # its socket is not there yet
                pass
            return False

        await until(loads, "the server loads")

    async def kill_server(self) -> None:
        """SIGKILL."""
        await self.raw.aclose()
        self._server.close()

    async def shut_server_down(self) -> None:
        """As an operator does it."""
        await self.raw.shutdown(nosave=True)
        await self.kill_server()  # it has ended already

    async def watch_ends(self) -> None:
        """Count from now on how often each job's end is published."""
        await self.raw.config_set("client-output-buffer-limit", "pubsub 0 0 0")  # they are read in the end
        pubsub, channel = self.raw.pubsub(), f"{self.prefix}done:"
        literal = "".join(f"\\{char}" if char in "[]{}*?\\" else char for char in channel)
        await pubsub.psubscribe(f"{literal}*")
        await self.say_somebody_waits()
        self.ends = Ends(pubsub=pubsub, channel=channel)

    async def say_somebody_waits(self) -> None:
        """Else ends are published only while somebody waits for a result."""
        await self.raw.set(f"{self.prefix}waits", "1", px=86_400_000)  # whatever a clock does

    # --- workers ------------------------------------------------------------------------------------------------

    async def worker(
        self,
        *options: str,
        ready: bool = True,
        url: str | None = None,
        own_group: bool = False,
        target: str = TARGET,
        crash: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        """Start a worker process; `ready`: and wait until it works. It is killed at the end.

        crash: where it shall kill itself (tests/faults/crash.py).
        """
        env = {
            **(env or {}),
            "AIOTQ_URL": url or self.url,
            "AIOTQ_NAMESPACE": self.namespace,
            "LEDGER": str(self.ledger.path),
            "GATE": str(self.folder / "gate"),
        }
        program = ("aiotq",) if crash is None else ("tests.faults.crash", crash)
        started = await spawn(target, *options, env=env, own_group=own_group, program=program)
        self.crew.append(started)
        if ready:
            await started.line("ready")
        return started

    async def workers(self, count: int, *options: str) -> list[WorkerProcess]:
        """Several at once."""
        return await asyncio.gather(*(self.worker(*options) for _ in range(count)))

    async def stop(self, *workers: WorkerProcess, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell workers to stop gently, and wait until they have. Those with a baseline first come back to it."""
        await self.witness.settle(self.raw, self.pid, workers)
        for worker in workers:
            worker.send_signal(number)
        codes = [await worker.exit() for worker in workers]
        self.exits += [Exit(pid=worker.pid, code=code) for worker, code in zip(workers, codes, strict=True)]
        assert codes == [0] * len(workers), f"exit codes {codes}; the first said:\n{workers[0].text[-5_000:]}"

    async def worker_of(self, worker_id: str) -> WorkerProcess:
        """The process that is registered under an id."""
        pid = int(await self.raw.hget(f"{self.prefix}worker:{worker_id}", "pid"))
        return next(worker for worker in self.crew if worker.pid == pid)

    def last_words(self, lines: int) -> list[tuple[int, list[str]]]:
        """Of each worker that ended as it should not have: its pid, and the last lines that it said."""
        wrong = {end.pid for end in self.exits if end.code not in end.expected}
        return [(worker.pid, worker.output[-lines:]) for worker in self.crew if worker.pid in wrong]

    async def ids_of(self, worker: WorkerProcess) -> set[str]:
        """The ids under which a process is registered."""
        found: set[str] = set()
        for member in await self.raw.zrange(f"{self.prefix}workers", 0, -1):
            pid = await self.raw.hget(f"{self.prefix}worker:{member.decode()}", "pid")
            if pid is not None and int(pid) == worker.pid:
                found.add(member.decode())
        return found

    async def heartbeats_of(self, worker: WorkerProcess, count: int) -> None:
        """Until it has renewed its lease so often."""
        (worker_id,) = await self.ids_of(worker)
        seen: set[float] = set()

        async def enough() -> bool:
            seen.add(await self.raw.zscore(f"{self.prefix}workers", worker_id))
            return len(seen) > count

        await until(enough, f"{count} heartbeats of worker {worker.pid}")

    async def until_leads(self, worker: WorkerProcess) -> None:
        """Until it is the leader of all pollers."""

        async def leads() -> bool:
            leader = (await self.raw.get(f"{self.prefix}poller") or b"").decode().partition(" ")[0]
            return leader in await self.ids_of(worker)

        await until(leads, f"worker {worker.pid} leads")

    async def forget_worker(self, worker: WorkerProcess) -> None:
        """What another worker would do after its lease: so that a test need not wait for it. It holds nothing."""
        for worker_id in await self.ids_of(worker):
            assert await self.raw.scard(f"{self.prefix}active:{worker_id}") == 0
            await self.raw.delete(f"{self.prefix}worker:{worker_id}")
            await self.raw.zrem(f"{self.prefix}workers", worker_id)

    async def send_through(self, url: str, *, within_s: float = 5.0) -> None:
        """Enqueue by another way: through a proxy. within_s: how long a `delay()` may take."""
        self.app = App(url, namespace=self.namespace, connect_timeout=within_s)
        self.tasks = Tasks(self.app)
        await self._open.enter_async_context(self.app)

    async def until_active(self, count: int) -> None:
        """Until so many jobs are in workers' hands, by the store."""

        async def enough() -> bool:
            return sum([await self.raw.scard(key) for key in await self.raw.keys("*:active:*")]) >= count

        await until(enough, f"{count} jobs in workers' hands")

    async def until_registered(self, count: int) -> None:
        """Until so many workers are registered."""

        async def enough() -> bool:
            return await self.raw.zcard(f"{self.prefix}workers") >= count

        await until(enough, f"{count} registered workers")

    def open_gate(self) -> None:
        """Let every `hold` end."""
        (self.folder / "gate").touch()

    # --- jobs ---------------------------------------------------------------------------------------------------

    async def enqueue(self, count: int) -> list[Job[int]]:
        """That many jobs that end at once."""
        return await self.app.enqueue_many([self.tasks.note.s() for _ in range(count)])

    async def all_ended(self, jobs: Collection[Job[Any]], *, within_s: float = WITHIN_S) -> None:
        """Until no job waits or runs any more, in the store."""
        keys = [f"{self.prefix}job:{job.id}" for job in jobs]
        for first in range(0, len(keys), LOOKED_AT_ONCE):
            ended = partial(self._ended, keys[first : first + LOOKED_AT_ONCE])
            await until(ended, f"the end of {len(jobs)} jobs", within_s=within_s)

    async def _ended(self, keys: list[str]) -> bool:
        return not any(data is not None and data[1:2] == b"w" for data in await self.raw.mget(keys))

    async def sample(self) -> census.Census:
        """All keys as they lie in the store at one moment."""
        return await sample(self.raw, self.prefix)

    def sampling(self) -> AbstractAsyncContextManager[None]:
        """Sample the store again and again while the context lasts: `check` looks at each of them."""
        return self.witness.sampling(self.raw, self.url, self.prefix)

    async def baseline(self) -> None:
        """Note what the server and all workers hold, before a fault; `stop` and `check` see to that it is no more."""
        await self.witness.baseline(self.raw, self.pid, self.crew)

    async def check(
        self,
        jobs: Iterable[Job[Any]],
        *,
        told: Told | None = None,
        earlier: Sequence[census.Census] = (),
        settled: Sequence[tuple[Load, Load]] = (),
        away: Sequence[tuple[Load, Load]] = (),
        times: Sequence[Took] = (),
        **allowed: Any,
    ) -> None:
        """Check all invariants. jobs: the acknowledged ones, unless `told` says more. allowed: fields of `Allowed`."""
        ids = [job.id for job in jobs]
        assert len(set(ids)) == len(ids)
        evidence = Evidence(
            told=told or Told(acked=ids),
            entries=self.ledger.read(),
            sample=await self.sample(),
            allowed=Allowed(**{name: value for name, value in allowed.items() if value is not None}),
            earlier=[*self.witness.samples, *earlier],
            published=None if self.ends is None else await self.ends.count(self.raw),
            settled=[*self.witness.settled, *settled],
            away=away,
            said={worker.pid: worker.text for worker in self.crew},
            times=times,
            exits=self.exits,
        )
        found = violations(evidence)
        assert not found, f"{len(found)} things are wrong:\n" + "\n".join(map(str, found[:10]))

    def measured(self, text: str) -> None:
        """Say what was measured; pytest shows it with -s or -rP."""
        sys.stdout.write(f"{text}\n")

    async def close(self) -> None:
        """End what was started."""
        for worker in self.crew:
            await worker.kill()
        for process in self.others:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        if self.ends is not None:
            await self.ends.pubsub.aclose()
        await self._open.aclose()
        if self.raw is not None:
            await self.raw.aclose()
        self._server.close()
