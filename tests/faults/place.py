"""Where a chaos run takes place: one server after the other, and proxies by which everybody reaches the present one."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests import servers
from tests.faults import clocks
from tests.faults.causes import Span
from tests.faults.clocks import ShiftedClock
from tests.faults.proxy import FaultProxy
from tests.faults.sentinel_rig import free_port
from tests.process.ledger import until
from tests.process.rig import PATIENCE_S, Rig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.process.ledger import Ends

SYNCED_WITHIN_S = 30.0
LOSES_S = 1.0  # with an AOF of `everysec`: what had been written for longer has reached the disk
# ... and while an fsync is under way, it answers for so long before it writes at all (aof.c postpones that for 2 s).
POSTPONES_S = 2.0
BEHIND_S = 0.5  # a replica: what was acknowledged before has reached it
WAITS_MS = 600_000


@dataclass(kw_only=True)
class Published:
    """How often each job's end was published, as far as anybody could listen."""

    counts: Counter[str] = field(default_factory=Counter[str])
    deaf: list[Span] = field(default_factory=list[Span])  # meanwhile nobody listened
    since_s: float = 0.0  # ... and since then, if `listening` is None
    listening: Ends | None = None


@dataclass(kw_only=True)
class Place(Rig):
    """A `Rig` whose server may be followed by another one, on another socket. It keeps its data."""

    fsync: str = "always"
    clock: ShiftedClock | None = None
    published: Published = field(default_factory=Published)
    proxies: list[FaultProxy] = field(default_factory=list[FaultProxy])
    sizes: list[tuple[float, Path, int]] = field(default_factory=list)  # of the server's file, now and then
    _home: Path = field(default_factory=Path)
    _port: int = 0
    _served: int = 0

    @property
    def socket(self) -> Path:
        """The present server's."""
        return self._home / "s"

    async def open(self, proxies: AsyncExitStack) -> None:
        """Start the first server. The clock of each can be set where that is possible."""
        if clocks.why_not() is None:
            library = await asyncio.to_thread(clocks.build, self.folder)
            self.clock = ShiftedClock(library=library, file=self.folder / "clock")
        self._home, self._port = self._new_home(), free_port()
        self.published.since_s = time.monotonic()
        await self.start_server()
        await self.send_through((await self.proxy(proxies, "own")).url)

    async def proxy(self, proxies: AsyncExitStack, name: str) -> FaultProxy:
        """A way to the server, of somebody's own."""
        made = await proxies.enter_async_context(FaultProxy(self.socket, self.folder / name))
        self.proxies.append(made)
        return made

    async def start_server(self, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start the present server, with what it has in its file."""
        starting = self._start(self._home, self._port, *options)
        server = await asyncio.to_thread(self._server.enter_context, starting)
        assert server.pid is not None
        self.pid = server.pid
        self.raw = self._client(self._home)
        await self.listen()

    def _start(self, folder: Path, port: int, *options: str) -> Any:
        own = ("--appendonly", "yes", "--appendfsync", self.fsync, "--port", str(port), "--bind", "127.0.0.1")
        env = None if self.clock is None else self.clock.env
        return servers.running("valkey", folder, *own, "--repl-diskless-sync-delay", "0", *options, env=env)

    @staticmethod
    def _client(folder: Path) -> Any:
        return Redis.from_url(f"unix://{folder / 's'}", socket_timeout=PATIENCE_S)

    def _new_home(self) -> Path:
        self._served += 1
        home = self.folder / f"server-{self._served}"
        home.mkdir()
        return home

    async def kill_server(self) -> None:
        """SIGKILL. What it has published until then is read before."""
        await self.deafen()
        await super().kill_server()

    # --- what it publishes --------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Count ends from now on."""
        await self.watch_ends()
        published = self.published
        published.listening, self.ends = self.ends, None
        published.deaf.append(Span(from_s=published.since_s, until_s=time.monotonic()))

    async def deafen(self) -> None:
        """Count no ends from now on."""
        published = self.published
        if published.listening is not None:
            published.since_s = time.monotonic()
            published.counts += await published.listening.count(self.raw)
            await published.listening.pubsub.aclose()
            published.listening = None

    async def remind(self) -> None:
        """Somebody waits for ends: else none would be published any more."""
        with suppress(RedisError):
            await self.say_somebody_waits()

    # --- what it can lose ---------------------------------------------------------------------------------------

    def weigh(self) -> None:
        """Note how large the server's file is: what a power loss would leave."""
        now_s = time.monotonic()
        for file in self._home.glob("appendonlydir/*.incr.aof"):
            with suppress(FileNotFoundError):
                self.sizes.append((now_s, file, file.stat().st_size))
        while self.sizes and self.sizes[0][0] < now_s - 3 * LOSES_S:
            del self.sizes[0]

    def lose_power(self) -> float:
        """Of a server that was killed: leave of its file what had reached the disk. Returns since when it lost all."""
        killed_s = time.monotonic()
        newest = max(self._home.glob("appendonlydir/*.incr.aof"), key=lambda file: file.stat().st_mtime_ns)
        kept = [(at_s, size) for at_s, file, size in self.sizes if file == newest and at_s <= killed_s - LOSES_S]
        self.sizes.clear()
        if not kept:
            return killed_s - LOSES_S - POSTPONES_S
        at_s, size = max(kept)
        os.truncate(newest, max(0, size - 7))  # in the middle of a command
        return at_s - POSTPONES_S

    async def fail_over(self, *, demote_for_s: float | None) -> tuple[float, float]:
        """Make a replica, promote it, and lead everybody there. Returns in which while what was acknowledged is lost.

        demote_for_s: for so long the old master is a replica of the new one, and everybody still talks to it.
        """
        home, port, stack = self._new_home(), free_port(), ExitStack()
        starting = self._start(home, port, "--replicaof", "127.0.0.1", str(self._port))
        server = await asyncio.to_thread(stack.enter_context, starting)
        assert server.pid is not None
        new = self._client(home)

        async def synced() -> bool:
            found, own = await new.info(), await self.raw.info("replication")
            whole = found["master_link_status"] == "up" and not found["aof_rewrite_in_progress"]
            near = own["master_repl_offset"] - found.get("slave_repl_offset", 0) < 1 << 16
            return whole and near and not found["aof_rewrite_scheduled"]

        await until(synced, "a replica in step", within_s=SYNCED_WITHIN_S)
        await self.deafen()
        from_s = time.monotonic() - BEHIND_S
        await new.execute_command("REPLICAOF", "NO", "ONE")
        if demote_for_s is not None:
            await self.raw.execute_command("REPLICAOF", "127.0.0.1", str(port))
            await asyncio.sleep(demote_for_s)  # the fault
        for proxy in self.proxies:
            proxy.upstream = home / "s"
            proxy.cut_all()
        until_s = time.monotonic()
        await self.raw.aclose()
        self._server.close()
        self._server, self._home, self._port = stack, home, port
        self.pid, self.raw = server.pid, new
        await self.listen()
        return from_s, until_s
