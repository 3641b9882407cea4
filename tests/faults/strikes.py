"""The faults of a chaos run that strike one worker, its connections, or the server (tests/faults/blows.py)."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiotq.store import scripts
from tests.faults.blows import AWAY_S, Blows
from tests.faults.crew import LEASE_S
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.faults.causes import Causes
    from tests.faults.crew import Crew, Member
    from tests.faults.load import Account
    from tests.faults.place import Place

WHAT_MAY_STRIKE = (scripts.EXCHANGE.sha,) * 3 + (scripts.RENEW.sha, scripts.PROMOTE.sha, scripts.RECLAIM.sha, "BLPOP")
SILENT_S = 15.0  # an armed fault has struck by then, three times, and each time was noticed


class Strikes:
    """Each method is a fault, by its name. Those that last go to `group`, or hold up the next one."""

    def __init__(
        self,
        place: Place,
        crew: Crew,
        dice: random.Random,
        *,
        causes: Causes,
        account: Account,
        group: asyncio.TaskGroup,
    ) -> None:
        self._place, self._crew, self._dice = place, crew, dice
        self._causes, self._account, self._group = causes, account, group
        self._blows = Blows(place, dice, causes)
        self._note = ""
        self.counts: Counter[str] = Counter()
        self._of_a_worker: Mapping[str, Callable[[Member], Awaitable[None]]] = {
            **{fault.name.lower(): self._on_the_line(fault) for fault in Fault},
            "kill": self.kill,
            "stop": self.stop,
            "freeze": self.freeze,
            "slow": self.slow,
            "starve": self.starve,
            "block": self.block,
            "poison": self.poison,
        }

    @property
    def usual(self) -> list[str]:
        """Those that a run draws from, if it is not told which."""
        return sorted([*self._of_a_worker, *self._blows.usual])

    async def strike(self, fault: str) -> str:
        """Let it strike some worker, or the server. Returns what was done, when and to whom."""
        await self._crew.miss()
        member = self._dice.choice(self._crew.members)
        at_s, self._note, whom = time.monotonic(), "", "the server"
        self.counts[fault] += 1
        if fault in self._of_a_worker:
            whom = str(member.pid)
            await self._of_a_worker[fault](member)
        else:
            self._note = await self._blows.strike(fault)
        return f"{at_s:.2f} {fault} {whom} {self._note}"

    async def kill(self, member: Member) -> None:
        """SIGKILL."""
        await self._crew.kill(member)

    async def stop(self, member: Member) -> None:
        """A deploy."""
        self._group.create_task(self._crew.dismiss(member))
        await self._crew.replace(member)

    async def freeze(self, member: Member) -> None:
        """For less than its lease, or for more."""
        seconds, at_s = self._dice.choice([0.3, 1.0, 1.75 * LEASE_S]), time.monotonic()
        self._note = f"for {seconds} s"
        if seconds >= LEASE_S / 2:  # with half of it gone, the next fault may take the rest
            self._causes.lapse(member.pid, at_s, at_s + seconds + LEASE_S)
        self._causes.darkness(member.pid, at_s, at_s + seconds)

        async def thaw() -> None:
            await asyncio.sleep(seconds)  # the fault
            member.send(signal.SIGCONT)

        member.send(signal.SIGSTOP)
        self._group.create_task(thaw())

    async def slow(self, member: Member) -> None:
        """Its answers come late. More than this is too slow to connect within a lease."""
        member.proxy.delay_s = self._dice.choice([0.0, 0.0, 0.05, 0.1])
        self._note = f"by {member.proxy.delay_s} s"

    async def starve(self, member: Member) -> None:
        """It can open no further file or socket, and loses those to the server."""
        pid, seconds, at_s = member.pid, self._dice.choice(AWAY_S), time.monotonic()
        self._note = f"for {seconds} s"
        self._causes.lapse(pid, at_s, at_s + seconds + 3 * LEASE_S)
        self._causes.darkness(pid, at_s, at_s + seconds)
        self._crew.starved[pid] = at_s
        with suppress(ProcessLookupError):
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (20, before[1]))
            member.proxy.cut_all()

            async def feed() -> None:
                await asyncio.sleep(seconds)  # the fault
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

            self._group.create_task(feed())

    async def block(self, _: Member) -> None:
        """A task of somebody's stands in its loop's way: for longer than a lease, which is kept all the same."""
        await self._send(self._place.tasks.block, self._dice.choice([0.5 * LEASE_S, 1.5 * LEASE_S]))

    async def poison(self, _: Member) -> None:
        """A task ends its process, wherever it comes."""
        await self._send(self._place.tasks.die)

    async def _send(self, task: Any, *arguments: object) -> None:
        job_id = f"{task.name}-{self.counts.total()}"
        if task is self._place.tasks.die:
            self._account.poison.add(job_id)
        await task.options(job_id=job_id).delay(*arguments)
        self._account.acked[job_id] = time.monotonic()
        self._note = job_id

    def _on_the_line(self, fault: Fault) -> Callable[[Member], Awaitable[None]]:
        async def arm(member: Member) -> None:
            match, times, at_s = self._dice.choice(WHAT_MAY_STRIKE), self._dice.choice([1, 1, 3]), time.monotonic()
            self._note = f"{times} times at {match}"
            self._causes.darkness(member.pid, at_s, at_s + SILENT_S)
            if match == scripts.RENEW.sha:
                self._causes.lapse(member.pid, at_s, at_s + SILENT_S)
            member.proxy.arm(fault, match, times=times)

        return arm
