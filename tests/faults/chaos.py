"""Chaos: workers killed, frozen, starved, replaced; connections cut, answers lost; the server restarted, full, away.

    make chaos MINUTES=5 SEED=7        or        python -m tests.faults.chaos --minutes 5 --seed 7

In the end every acknowledged job has ended once, nothing has run again without cause, and nothing is left over. The
seed says which faults strike and which jobs are sent; when they meet is up to the machine. Exit code 1: something is
wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from aiotq.record import decode
from tests.faults.invariants import Allowed, Evidence, Took, Violation, meanwhile, violations
from tests.faults.load import Account, Producer
from tests.faults.proxy import FaultProxy
from tests.faults.strikes import LEASE_S, Crew, Strikes
from tests.process.rig import DURABLE, Rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.census import Census

WORKERS, PRODUCERS = 8, 3
SETTLED_WITHIN_S = 60.0
STRIKE_WITHIN_S = 0.6
SAMPLE_EVERY_S = 3.0
SHOWN = 30
LOOK_EVERY_S = 0.05
STALL_S = LEASE_S / 4  # a machine that stands still for so long takes a worker's lease by itself


class Chaos:
    """One run."""

    def __init__(self, rig: Rig, *, seed: int) -> None:
        self._rig, self._seed = rig, seed
        self._dice = random.Random(seed)
        self._account = Account()
        self._proxies = AsyncExitStack()
        self._crew = Crew(rig, self._dice, self._proxies)
        self._before: Census | None = None  # the last sample
        self._samples = 0
        self._settled_s = 0.0
        self._stalled_s = 0.0  # the longest that the machine left this process without its turn
        self.found: list[Violation] = []
        self.struck: list[str] = []  # what was done when, for the report of a run that went wrong

    async def run(self, seconds: float, only: Sequence[str]) -> None:
        """Send, break, repair, and look at what came of it. only: these faults; all, if there are none."""
        await self._rig.start_server(*DURABLE)
        async with self._proxies:
            for _ in range(WORKERS):
                await self._crew.hire()
            producers = [await self._producer(number) for number in range(PRODUCERS)]
            over = asyncio.Event()
            async with asyncio.timeout(seconds + 4 * SETTLED_WITHIN_S), asyncio.TaskGroup() as waiters:
                watching = waiters.create_task(self._watch())
                async with asyncio.TaskGroup() as group:
                    for producer in producers:
                        group.create_task(producer.run(over, waiters))
                    strikes = Strikes(self._rig, self._crew, self._dice, group)
                    await self._break(strikes, seconds, list(only) or sorted(strikes.faults))
                    over.set()
                for member in self._crew.members:
                    member.proxy.delay_s = 0.0
                await self._settle()
                watching.cancel()
            await self._crew.miss()
            for producer in producers:
                await producer.close()
            for member in self._crew.members:
                await self._crew.dismiss(member)
        await self._judge()

    async def _producer(self, number: int) -> Producer:
        proxy = await self._proxies.enter_async_context(
            FaultProxy(self._rig.folder / "s", self._rig.folder / f"producer-{number}")
        )
        dice = random.Random(self._seed * 1_000 + number)
        return Producer(f"p{number}", proxy.url, namespace=self._rig.namespace, dice=dice, account=self._account)

    async def _watch(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)
            self._stalled_s = max(self._stalled_s, time.monotonic() - before_s - LOOK_EVERY_S)

    async def _break(self, strikes: Strikes, seconds: float, faults: list[str]) -> None:
        until_s = time.monotonic() + seconds
        sampled_s = time.monotonic()
        while time.monotonic() < until_s:
            await asyncio.sleep(self._dice.random() * STRIKE_WITHIN_S)
            self.struck.append(await strikes.strike(self._dice.choice(faults)))
            if time.monotonic() - sampled_s > SAMPLE_EVERY_S:
                await self._look()
                sampled_s = time.monotonic()

    async def _look(self) -> None:
        try:
            sample = await self._rig.sample()
        except RedisError:
            return  # it is away just now
        self._samples += 1
        if self._before is not None:
            self.found += meanwhile(self._before, sample)
        self._before = sample

    async def _settle(self) -> None:
        """Until no job waits or runs, and every worker that vanished has been reclaimed."""
        began_s = time.monotonic()
        keys = self._rig.prefix
        while time.monotonic() - began_s < SETTLED_WITHIN_S:
            ids = [*self._account.acked, *self._account.unsure]
            records = await self._rig.raw.mget([f"{keys}job:{job_id}" for job_id in ids])
            waiting = any(data is not None and data[1:2] == b"w" for data in records)
            if not waiting and await self._rig.raw.zcard(f"{keys}workers") <= len(self._crew.members):
                break
            await asyncio.sleep(0.2)
        # The ticket of a job that was cancelled while it waited lies in its line until a claim comes by.
        brooms = await self._rig.enqueue(WORKERS)
        self._account.acked |= {job.id for job in brooms}
        with suppress(AssertionError):  # the invariants will say it, and what else is wrong
            await self._rig.all_ended(brooms)
        self._settled_s = time.monotonic() - began_s

    async def _judge(self) -> None:
        sample, ledger, account = await self._rig.sample(), self._rig.ledger, self._account
        entries = ledger.read()
        # Their workers were killed too often: what `max_lost` is for.
        buried = {job_id for job_id, data in sample.records.items() if decode(job_id, data).doc.reason == "lost"}
        if self._before is not None:
            self.found += meanwhile(self._before, sample)
        if self._stalled_s > STALL_S:  # then a lease may be lost with nothing done to its worker
            self._crew.excused |= {one.pid for one in self._rig.crew if '"event":"lease_lost"' in one.text}
        limit_s = SETTLED_WITHIN_S + 2 * self._stalled_s
        self.found += violations(
            Evidence(
                told=account.told,
                entries=entries,
                sample=sample,
                allowed=Allowed(excused=self._crew.excused, may_die=buried, failures=account.failures),
                said={worker.pid: worker.text for worker in self._rig.crew},
                times=[Took(what="the end of all jobs", took_s=self._settled_s, limit_s=limit_s)],
                exits=self._rig.exits,
            )
        )
        starts = [(entry.job_id, entry.attempt) for entry in entries if entry.what == "start"]
        self._rig.measured(
            f"seed {self._seed}: {len(self.struck)} faults, {len(self._rig.crew)} workers; "
            f"{len(account.acked)} jobs acknowledged, {len(account.unsure)} left open, {len(account.refused)} refused, "
            f"{account.awaited} awaited; "
            f"{len(starts) - len(set(starts))} attempts started again, {len(buried)} buried; {self._samples} samples; "
            f"settled after {self._settled_s:.1f} s; the machine stood still for {self._stalled_s:.2f} s at most; "
            f"{len(self.found)} violations"
        )


async def main() -> int:
    """Run it as the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.faults.chaos", description="Chaos: see the head of the file.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--faults", default="", help="only these, with commas between them")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aiotq-chaos-"))
    rig = Rig(folder=folder, namespace=f"chaos-{given.seed}")
    rig.measured(f"chaos for {given.minutes:g} minutes with seed {given.seed} ...")
    sys.stdout.flush()
    chaos = Chaos(rig, seed=given.seed)
    try:
        await chaos.run(given.minutes * 60, [name for name in given.faults.split(",") if name])
    except TimeoutError:
        chaos.found.append(Violation(invariant="I7", text="results that somebody waits for have never come"))
    finally:
        await rig.close()
        shutil.rmtree(folder, ignore_errors=True)
    for line in (*map(str, chaos.found[:SHOWN]), *(chaos.struck if chaos.found else ())):
        rig.measured(f"seed {given.seed}: {line}")
    if chaos.found:
        rig.measured(f"once more: make chaos MINUTES={given.minutes:g} SEED={given.seed}")
    return bool(chaos.found)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
