"""The workers of a chaos run: who they are, how they go, and who comes after them."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.invariants import Exit

if TYPE_CHECKING:
    import random
    from contextlib import AsyncExitStack

    from tests.faults.causes import Causes
    from tests.faults.load import Account
    from tests.faults.place import Place
    from tests.faults.proxy import FaultProxy
    from tests.processes import WorkerProcess

LEASE_S = 2.0
GRACE_S = 0.3
OF_A_WORKER = ("--lease", f"{LEASE_S:g}", "--grace", f"{GRACE_S:g}", "--threads", "4")
ENDS_WITHIN_S = 40.0
POISONED = (7, -signal.SIGKILL)  # how `die` ends its process


@dataclass(frozen=True, slots=True)
class Member:
    """A worker, behind a proxy of its own."""

    worker: WorkerProcess
    proxy: FaultProxy

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.worker.pid

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it has not just ended."""
        with suppress(ProcessLookupError):
            self.worker.send_signal(number)


class Crew:
    """The workers of a run. One that goes is followed by another."""

    def __init__(
        self, place: Place, dice: random.Random, proxies: AsyncExitStack, *, causes: Causes, account: Account
    ) -> None:
        self._place, self._dice, self._proxies = place, dice, proxies
        self._causes, self._account = causes, account
        self._hired = 0
        self.members: list[Member] = []
        self.starved: dict[int, float] = {}  # these may end: without a file descriptor no lease can be kept

    async def hire(self, size: int | None = None) -> Member:
        """Start one more, without waiting for it."""
        self._hired += 1
        proxy = await self._place.proxy(self._proxies, f"p{self._hired}")
        size = size or self._dice.choice([3, 20, 100])
        worker = await self._place.worker(*OF_A_WORKER, "-c", str(size), url=proxy.url, ready=False)
        self.members.append(Member(worker, proxy))
        return self.members[-1]

    async def miss(self) -> None:
        """See who has ended by itself, and hire others."""
        for member in [one for one in self.members if one.worker.process.returncode is not None]:
            self._has_ended(member, await member.worker.exit(), expected=())
            await self.replace(member)

    async def kill(self, member: Member) -> None:
        """SIGKILL, and another in its place."""
        at_s = time.monotonic()
        await member.worker.kill()
        self._causes.lapse(member.pid, at_s)
        await self.replace(member)

    async def dismiss(self, member: Member) -> None:
        """Stop it gently. What ends within its grace may not run again."""
        at_s = time.monotonic()
        member.send(signal.SIGTERM)
        code = await member.worker.exit(timeout_s=ENDS_WITHIN_S)
        self._causes.stopped(member.pid, at_s, gone_s=time.monotonic())
        came_so_far = '"event":"ready"' in member.worker.text
        # Else it has perhaps not come so far as to handle the signal.
        self._has_ended(member, code, expected=(0,) if came_so_far else (0, -signal.SIGTERM))

    async def dismiss_all(self) -> None:
        """The end of the run."""
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(self.dismiss(member))

    async def replace(self, member: Member) -> None:
        """Take it out, whatever becomes of it, and hire another."""
        self.members.remove(member)
        await self.hire()

    def _has_ended(self, member: Member, code: int, *, expected: tuple[int, ...]) -> None:
        pid = member.pid
        if pid in self.starved:
            self._causes.lapse(pid, self.starved[pid])
            expected += (1,)
        poisoned = self._place.ledger.unended(pid) & self._account.poison
        if poisoned:
            starts = self._place.ledger.starts(pid=pid)
            self._causes.lapse(pid, min(entry.at_s for entry in starts if entry.job_id in poisoned))
            expected += POISONED
        if '"event":"ready"' not in member.worker.text and "Redis user" in member.worker.text:
            expected += (1,)  # it came while its user lacked a right: it says so, and goes
        self._place.exits.append(Exit(pid=pid, code=code, expected=expected))
