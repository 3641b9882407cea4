"""The faults of a chaos run, and the workers that they strike."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiotq.store import scripts
from tests.faults.invariants import Exit
from tests.faults.proxy import Fault, FaultProxy
from tests.process.rig import DURABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.process.rig import Rig
    from tests.processes import WorkerProcess

LEASE_S = 2.0
OF_A_WORKER = ("--lease", f"{LEASE_S:g}", "--grace", "0.3", "--threads", "4")
WHAT_MAY_STRIKE = (scripts.EXCHANGE.sha,) * 3 + (scripts.RENEW.sha, scripts.PROMOTE.sha, scripts.RECLAIM.sha, "BLPOP")
AWAY_S = (0.2, 1.0, 1.5 * LEASE_S)


@dataclass(frozen=True, slots=True)
class Member:
    """A worker, behind a proxy of its own."""

    worker: WorkerProcess
    proxy: FaultProxy


def send(member: Member, number: signal.Signals) -> None:
    """Signal it, if it has not just ended."""
    with suppress(ProcessLookupError):
        member.worker.send_signal(number)


class Crew:
    """The workers of a run. One that goes is followed by another."""

    def __init__(self, rig: Rig, dice: random.Random, proxies: AsyncExitStack) -> None:
        self._rig, self._dice, self._proxies = rig, dice, proxies
        self._hired = 0
        self.members: list[Member] = []
        self.excused: set[int] = set()  # something happened to these: what ran there may run again
        self.starved: set[int] = set()  # these may end: without a file descriptor no lease can be kept

    async def hire(self) -> None:
        """Start one more, without waiting for it."""
        self._hired += 1
        proxy = await self._proxies.enter_async_context(
            FaultProxy(self._rig.folder / "s", self._rig.folder / f"p{self._hired}")
        )
        size = str(self._dice.choice([3, 20, 100]))
        worker = await self._rig.worker(*OF_A_WORKER, "-c", size, url=proxy.url, ready=False)
        self.members.append(Member(worker, proxy))

    async def miss(self) -> None:
        """See who has ended by itself, and hire others."""
        for member in [one for one in self.members if one.worker.process.returncode is not None]:
            pid, code = member.worker.pid, await member.worker.exit()
            self._rig.exits.append(Exit(pid=pid, code=code, expected=(1,) if pid in self.starved else ()))
            await self.replace(member)

    async def dismiss(self, member: Member) -> None:
        """Stop it gently."""
        send(member, signal.SIGTERM)
        code = await member.worker.exit(timeout_s=40)
        # The second: it had not come so far as to handle the signal.
        self._rig.exits.append(Exit(pid=member.worker.pid, code=code, expected=(0, -signal.SIGTERM)))

    async def replace(self, member: Member) -> None:
        """Take it out, whatever becomes of it, and hire another."""
        self.excused.add(member.worker.pid)
        self.members.remove(member)
        await self.hire()


class Strikes:
    """Each method is a fault, by its name. Those that last go to `group`, or hold up the next one."""

    def __init__(self, rig: Rig, crew: Crew, dice: random.Random, group: asyncio.TaskGroup) -> None:
        self._rig, self._crew, self._dice, self._group = rig, crew, dice, group
        self._note = ""
        self.faults: Mapping[str, Callable[[Member], Awaitable[None]]] = {
            **{fault.name.lower(): self._on_the_line(fault) for fault in Fault},
            "kill": self.kill,
            "stop": self.stop,
            "freeze": self.freeze,
            "slow": self.slow,
            "starve": self.starve,
            "cut": self.cut,
            "flush": self.flush,
            "restart": self.restart,
            "pause": self.pause,
            "full": self.full,
            "replica": self.replica,
        }

    async def strike(self, fault: str) -> str:
        """Let it strike some worker, or the server. Returns what was done, when and to whom."""
        await self._crew.miss()
        member = self._dice.choice(self._crew.members)
        at_s, self._note = time.monotonic(), ""
        await self.faults[fault](member)
        return f"{at_s:.2f} {fault} {member.worker.pid} {self._note}"

    # --- of a worker

    async def kill(self, member: Member) -> None:
        """SIGKILL."""
        await member.worker.kill()
        await self._crew.replace(member)

    async def stop(self, member: Member) -> None:
        """A deploy."""
        self._group.create_task(self._crew.dismiss(member))
        await self._crew.replace(member)

    async def freeze(self, member: Member) -> None:
        """For less than its lease, or for more."""
        seconds = self._dice.choice([0.3, 1.0, 1.75 * LEASE_S])
        self._note = f"for {seconds} s"
        if seconds >= LEASE_S / 2:  # with half of it gone, the next fault may take the rest
            self._crew.excused.add(member.worker.pid)

        async def thaw() -> None:
            await asyncio.sleep(seconds)
            send(member, signal.SIGCONT)

        send(member, signal.SIGSTOP)
        self._group.create_task(thaw())

    async def slow(self, member: Member) -> None:
        """Its answers come late. More than this is too slow to connect within a lease."""
        member.proxy.delay_s = self._dice.choice([0.0, 0.0, 0.05, 0.1])
        self._note = f"by {member.proxy.delay_s} s"

    async def starve(self, member: Member) -> None:
        """It can open no further file or socket, and loses those to the server."""
        pid, seconds = member.worker.pid, self._dice.choice(AWAY_S)
        self._note = f"for {seconds} s"
        self._crew.excused.add(pid)
        self._crew.starved.add(pid)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        async def feed() -> None:
            await asyncio.sleep(seconds)
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

        resource.prlimit(pid, resource.RLIMIT_NOFILE, (20, before[1]))
        member.proxy.cut_all()
        self._group.create_task(feed())

    def _on_the_line(self, fault: Fault) -> Callable[[Member], Awaitable[None]]:
        async def arm(member: Member) -> None:
            match, times = self._dice.choice(WHAT_MAY_STRIKE), self._dice.choice([1, 1, 3])
            self._note = f"{times} times at {match}"
            if match == scripts.RENEW.sha:
                self._crew.excused.add(member.worker.pid)
            member.proxy.arm(fault, match, times=times)

        return arm

    # --- of the server

    async def cut(self, _: Member) -> None:
        """Every worker's connections."""
        for member in self._crew.members:
            member.proxy.cut_all()

    async def flush(self, _: Member) -> None:
        """Its scripts are forgotten."""
        await self._rig.raw.script_flush()

    async def restart(self, _: Member) -> None:
        """SIGKILL, and up again with what is in its file."""
        await self._rig.kill_server()
        await asyncio.sleep(self._dice.random())
        await self._rig.start_server(*DURABLE)

    async def pause(self, _: Member) -> None:
        """It stands still."""
        os.kill(self._rig.pid, signal.SIGSTOP)
        await self._for_a_while()
        os.kill(self._rig.pid, signal.SIGCONT)

    async def full(self, _: Member) -> None:
        """At its maxmemory."""
        await self._rig.raw.config_set("maxmemory", 1)
        await self._for_a_while()
        await self._rig.raw.config_set("maxmemory", 0)

    async def replica(self, _: Member) -> None:
        """It serves no writes."""
        await self._rig.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        await self._for_a_while()
        await self._rig.raw.execute_command("REPLICAOF", "NO", "ONE")

    async def _for_a_while(self) -> None:
        seconds: Any = self._dice.choice(AWAY_S)
        self._note = f"for {seconds} s"
        await asyncio.sleep(seconds)
