"""Chaos: workers killed, frozen, starved, replaced; connections cut, answers lost; the server restarted, full, away.

    make chaos MINUTES=5 SEED=7        or        python -m tests.faults.chaos --minutes 5 --seed 7

In the end every acknowledged job has ended once, nothing has run again without cause, and nothing is left over. The
seed says which faults strike and which jobs are sent; when they meet is up to the machine. Exit code 1: something is
wrong. Two modes of their own, in which the server loses data and the account says which jobs that may concern:

    --everysec    it brings its file to disk once a second, and loses power: durable jobs are never lost
    --flush       FLUSHALL among the faults
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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from tests.faults.blows import STEPS_S
from tests.faults.causes import Causes
from tests.faults.crew import GRACE_S, LEASE_S, Crew, Member
from tests.faults.invariants import Load, Took, Violation, meanwhile
from tests.faults.load import Account, Producer
from tests.faults.place import Place
from tests.faults.reckoning import Reckoning
from tests.faults.strikes import Strikes
from tests.faults.vitals import load_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.census import Census

WORKERS, PRODUCERS = 8, 3
SETTLED_WITHIN_S = 60.0
STRIKE_WITHIN_S = 0.6
SAMPLE_EVERY_S = 3.0
SHOWN, LAST_LINES = 30, 5
LOOK_EVERY_S = 0.05
# Half a heartbeat. A machine that leaves a process without its turn for so long takes leases by itself: once nobody
# could renew for a while, whoever comes a heartbeat later than the others is reclaimed.
STALL_S = LEASE_S * 4 / 15 / 2
AWAY_S = 2.0
MOST_BACK_MS = (max(STEPS_S) - min(STEPS_S)) * 1_000
AHEAD_S = 60  # of every clock before: so all that is scheduled is due
SPARE_FDS, SPARE_LINKS, MOST_GROWTH = 3, 2, 1.5  # of a worker that has seen it all, beside one that has just come


class Chaos:
    """One run."""

    def __init__(self, place: Place, *, seed: int) -> None:
        self._place, self._seed = place, seed
        self._dice = random.Random(seed)
        self._account, self._causes = Account(), Causes(grace_s=GRACE_S, lease_s=LEASE_S)
        self._proxies = AsyncExitStack()
        self._crew = Crew(place, self._dice, self._proxies, causes=self._causes, account=self._account)
        self._before: Census | None = None  # the last sample
        self._losses = 0  # that were known then
        self._samples = 0
        self._times: list[Took] = []
        self._settled: list[tuple[Load, Load]] = []
        self._away: list[tuple[Load, Load]] = []
        self.found: list[Violation] = []
        self._stalls = 0
        self._late_s = 0.0  # how long the machine left this process without its turn, at most
        self.errors: dict[str, list[str]] = {}  # what callers were told of the jobs in `found`
        self.struck: list[str] = []  # what was done when, for the report of a run that went wrong

    async def run(self, seconds: float, only: Sequence[str], more: Sequence[str]) -> None:
        """Send, break, repair, and look at what came of it. only: these faults, else the usual ones and `more`."""
        async with self._proxies:
            await self._place.open(self._proxies)
            for _ in range(WORKERS):
                await self._crew.hire()
            producers = [await self._producer(number) for number in range(PRODUCERS)]
            over = asyncio.Event()
            async with asyncio.timeout(seconds + 4 * SETTLED_WITHIN_S), asyncio.TaskGroup() as waiters:
                watching = waiters.create_task(self._watch())
                async with asyncio.TaskGroup() as group:
                    for producer in producers:
                        group.create_task(producer.run(over, waiters))
                    strikes = Strikes(
                        self._place, self._crew, self._dice, causes=self._causes, account=self._account, group=group
                    )
                    await self._break(strikes, seconds, list(only) or [*strikes.usual, *more])
                    over.set()
                self._repair()
                await self._settle("the end of all jobs")
                await self._crew.miss()
                await self._rest()
                watching.cancel()
            for producer in producers:
                await producer.close()
            await self._crew.dismiss_all()
            await self._place.deafen()
        await self._judge(strikes)

    async def _producer(self, number: int) -> Producer:
        proxy = await self._place.proxy(self._proxies, f"producer-{number}")
        dice = random.Random(self._seed * 1_000 + number)
        return Producer(f"p{number}", proxy.url, namespace=self._place.namespace, dice=dice, account=self._account)

    async def _watch(self) -> None:
        while True:
            before_s = time.monotonic()
            self._place.weigh()
            await asyncio.sleep(LOOK_EVERY_S)  # how late it comes back tells of the machine
            late_s = time.monotonic() - before_s - LOOK_EVERY_S
            self._late_s = max(self._late_s, late_s)
            if late_s > STALL_S:  # nobody has reached the store by its proxy, and perhaps others had no turn either
                self._stalls += 1
                for member in self._crew.members:
                    self._causes.lapse(member.pid, before_s, before_s + late_s)
                self._causes.darkness(None, before_s, before_s + late_s)

    async def _break(self, strikes: Strikes, seconds: float, faults: list[str]) -> None:
        until_s = time.monotonic() + seconds
        sampled_s = time.monotonic()
        while time.monotonic() < until_s:
            await asyncio.sleep(self._dice.random() * STRIKE_WITHIN_S)  # the pace of the faults
            self.struck.append(await strikes.strike(self._dice.choice(faults)))
            if time.monotonic() - sampled_s > SAMPLE_EVERY_S:
                await self._look()
                sampled_s = time.monotonic()

    async def _look(self) -> None:
        await self._place.remind()
        try:
            sample = await self._sample()
        except RedisError:
            return  # it is away just now
        self._samples += 1
        if self._before is not None and self._losses == len(self._causes.losses):
            self.found += meanwhile(self._before, sample)
        self._before, self._losses = sample, len(self._causes.losses)

    async def _sample(self) -> Census:
        return replace(await self._place.sample(), back_ms=MOST_BACK_MS)

    def _repair(self) -> None:
        """From now on nothing is done to anybody."""
        for proxy in self._place.proxies:
            proxy.delay_s = 0.0
            proxy.disarm()
        if self._place.clock is not None:
            self._place.clock.step(AHEAD_S)

    async def _settle(self, what: str) -> None:
        """Until no job waits or runs, and every worker that vanished has been reclaimed."""
        began_s = time.monotonic()
        keys, raw = self._place.prefix, self._place.raw
        while time.monotonic() - began_s < SETTLED_WITHIN_S:
            await self._crew.miss()  # whoever met the last poison
            ids = [*self._account.acked, *self._account.unsure]
            records = await raw.mget([f"{keys}job:{job_id}" for job_id in ids])
            waiting = any(data is not None and data[1:2] == b"w" for data in records)
            if not waiting and await raw.zcard(f"{keys}workers") <= len(self._crew.members):
                break
            await asyncio.sleep(0.2)  # other processes say nothing of it here: looked at again
        # The ticket of a job that was cancelled while it waited lies in its line until a claim comes by.
        brooms = await self._place.enqueue(WORKERS)
        self._account.acked |= {job.id: time.monotonic() for job in brooms}
        with suppress(AssertionError):  # the invariants will say it, and what else is wrong
            await self._place.all_ended(brooms)
        limit_s = SETTLED_WITHIN_S + 2 * self._late_s
        self._times.append(Took(what=what, took_s=time.monotonic() - began_s, limit_s=limit_s))

    async def _rest(self) -> None:
        """Who is left takes no more than a newcomer, is calm while the server is away, and takes no more afterwards."""
        members = list(self._crew.members)
        newcomer = await self._crew.hire(size=20)
        await newcomer.worker.line("ready", timeout_s=SETTLED_WITHIN_S)
        await self._settle("the end of a few more")
        before = [load_of(member.worker) for member in members]
        self._compare(members, before, newcomer)
        await self._place.kill_server()
        gone_s = time.monotonic()
        went = [load_of(member.worker) for member in members]
        await asyncio.sleep(AWAY_S)  # the fault
        self._away = [(one, load_of(member.worker)) for one, member in zip(went, members, strict=True)]
        await self._place.start_server()
        if self._place.fsync != "always":
            self._causes.loss(gone_s - AWAY_S, gone_s, spares_durable=True)
        self._causes.darkness(None, gone_s, time.monotonic())
        await self._settle("the end of the last ones")
        self._settled = [(one, load_of(member.worker)) for one, member in zip(before, members, strict=True)]

    def _compare(self, members: Sequence[Member], loads: Sequence[Load], newcomer: Member) -> None:
        fresh, links = load_of(newcomer.worker), newcomer.proxy.links
        for member, load in zip(members, loads, strict=True):
            for what, has, may in (
                ("files and sockets", load.fds, fresh.fds + SPARE_FDS),
                ("connections to the server", member.proxy.links, links + SPARE_LINKS),
                ("MiB", load.rss >> 20, MOST_GROWTH * (fresh.rss >> 20)),
            ):
                if has > may:
                    text = f"{member.pid} has {has} {what} after all that; beside a newcomer {may:g} were expected"
                    self.found.append(Violation(invariant="I6", text=text))

    async def _judge(self, strikes: Strikes) -> None:
        place, account, causes = self._place, self._account, self._causes
        sample = await self._sample()
        if self._before is not None and self._losses == len(causes.losses):
            self.found += meanwhile(self._before, sample)
        reckoning = Reckoning(place, account, causes, sample)
        self.found += reckoning.violations(times=self._times, settled=self._settled, away=self._away)
        self.errors = {
            job_id: said
            for job_id, said in account.errors.items()
            if any(f"{job_id} " in one.text for one in self.found)
        }
        sent = ", ".join(f"{count} {kind}" for kind, count in sorted(account.kinds.items()))
        faults = ", ".join(f"{count} {fault}" for fault, count in sorted(strikes.counts.items()))
        place.measured(
            f"seed {self._seed}: {len(self.struck)} faults ({faults}); {len(place.crew)} workers\n"
            f"seed {self._seed}: {len(account.acked)} jobs acknowledged, {len(account.unsure)} left open, "
            f"{len(account.refused)} refused, {account.awaited} awaited ({sent}); "
            f"{len(reckoning.vanished)} lost, all as the server lost data; "
            f"{reckoning.verdict.repeats} starts repeated, of at most {reckoning.verdict.in_hand} in lapsed hands, "
            f"the longest {reckoning.slowest_recovery_s():.1f} s after the start before; "
            f"{len(reckoning.buried)} buried, of them {len(reckoning.buried & account.poison)} poison "
            f"(of {len(account.poison)})\n"
            f"seed {self._seed}: {place.published.counts.total()} ends heard; {self._samples} samples; "
            f"settled after {self._times[0].took_s:.1f} s; "
            f"the machine stood still {self._stalls} times, for {self._late_s:.2f} s at most; "
            f"{len(self.found)} violations"
        )


async def main() -> int:
    """Run it as the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.faults.chaos", description="Chaos: see the head of the file.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--faults", default="", help="only these, with commas between them")
    parser.add_argument("--everysec", action="store_true", help="appendfsync everysec, and power losses")
    parser.add_argument("--flush", action="store_true", help="FLUSHALL, too")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aiotq-chaos-"))
    fsync = "everysec" if given.everysec else "always"
    place = Place(folder=folder, namespace=f"chaos-{given.seed}", fsync=fsync)
    place.measured(f"chaos for {given.minutes:g} minutes with seed {given.seed} ...")
    sys.stdout.flush()
    chaos = Chaos(place, seed=given.seed)
    more = [name for name, wanted in (("power", given.everysec), ("flush_data", given.flush)) if wanted]
    try:
        await chaos.run(given.minutes * 60, [name for name in given.faults.split(",") if name], more)
    except TimeoutError:
        chaos.found.append(Violation(invariant="I7", text="results that somebody waits for have never come"))
    finally:
        await place.close()
        shutil.rmtree(folder, ignore_errors=True)
    told = [f"of {job_id} its sender was told: {'; '.join(said)}" for job_id, said in chaos.errors.items()]
    said = [f"{pid} said: {line}" for pid, text in place.last_words(LAST_LINES) for line in text] if chaos.found else []
    for line in (*map(str, chaos.found[:SHOWN]), *told[:SHOWN], *said, *(chaos.struck if chaos.found else ())):
        place.measured(f"seed {given.seed}: {line}")
    if chaos.found:
        modes = " ".join(flag for flag in ("--everysec", "--flush") if flag in sys.argv)
        again = f"make chaos MINUTES={given.minutes:g} SEED={given.seed}"
        place.measured(f"once more: {again}" + (f" ARGS='{modes}'" if modes else ""))
    return bool(chaos.found)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
