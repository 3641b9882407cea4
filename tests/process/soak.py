"""Chaos by hand: workers killed, frozen, replaced; connections cut, answers lost; the server restarted, full, away.

    python -m tests.process.soak SEED [SECONDS] [FAULT,FAULT...]

In the end every acknowledged job has ended, none has run again without cause, and nothing is left over. The seed says
which faults strike and which jobs are sent; when they meet is up to the machine. Exit code 1: something is wrong.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotq.errors import StoreError, StoreUnavailable
from aiotq.record import decode
from aiotq.store import scripts
from tests import leaks
from tests.faults.proxy import Fault, FaultProxy
from tests.process.rig import DURABLE, Rig

if TYPE_CHECKING:
    from aiotq import Job
    from tests.processes import WorkerProcess

WORKERS = 3
LEASE_S = 2.0
SETTLED_WITHIN_S = 60.0
SEND_EVERY_S = 0.004
OF_A_WORKER = ("kill", "stop", "freeze", "slow", "drop_reply", "half_reply", "drop_request", "black_hole")
OF_THE_SERVER = ("cut", "flush", "restart", "pause", "full", "replica")
WHAT_MAY_STRIKE = (scripts.EXCHANGE.sha,) * 3 + (scripts.RENEW.sha, scripts.PROMOTE.sha, scripts.RECLAIM.sha, "BLPOP")


@dataclass(kw_only=True)
class Soak:
    """One run."""

    rig: Rig
    dice: random.Random
    workers: list[tuple[WorkerProcess, FaultProxy]] = field(default_factory=list[Any])
    excused: set[int] = field(default_factory=set[int])  # pids of workers whose jobs may run again
    acked: list[str] = field(default_factory=list[str])
    unsure: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    wrong: list[str] = field(default_factory=list[str])
    struck: list[str] = field(default_factory=list[str])  # what was done when, for the report of a run that went wrong
    _proxies: AsyncExitStack = field(default_factory=AsyncExitStack)
    _count: int = 0

    async def run(self, seconds: float, faults: list[str]) -> None:
        """Send, break, repair, and look at what came of it."""
        await self.rig.start_server(*DURABLE)
        async with self._proxies:
            for _ in range(WORKERS):
                await self._hire()
            over = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(group, over))
                until_s = time.monotonic() + seconds
                while time.monotonic() < until_s:
                    await asyncio.sleep(self.dice.random() * 0.6)
                    await self._strike(self.dice.choice(faults), group)
                over.set()
            for _, proxy in self.workers:
                proxy.delay_s = 0.0
            await self._settle()
            for worker, _ in self.workers:
                await self._dismiss(worker)
        await self._judge()

    # --- what is done -------------------------------------------------------------------------------------------

    async def _hire(self) -> None:
        self._count += 1
        folder = self.rig.folder
        proxy = await self._proxies.enter_async_context(FaultProxy(folder / "s", folder / f"p{self._count}"))
        options = ("--lease", f"{LEASE_S:g}", "--grace", "0.3", "--threads", "4")
        size = str(self.dice.choice([3, 20, 100]))
        worker = await self.rig.worker(*options, "-c", size, url=proxy.url, ready=False)
        self.workers.append((worker, proxy))

    async def _dismiss(self, worker: WorkerProcess) -> None:
        worker.send_signal(signal.SIGTERM)
        try:
            code = await worker.exit(timeout_s=40)
        except AssertionError:
            self.wrong.append(f"worker {worker.pid} did not end")
            return
        if code not in (0, -signal.SIGTERM):  # the latter before its handlers stand
            self.wrong.append(f"worker {worker.pid} ended with {code}: {worker.text[-2_000:]}")

    async def _strike(self, fault: str, group: asyncio.TaskGroup) -> None:
        entry = worker, proxy = self.dice.choice(self.workers)
        self.struck.append(f"{time.monotonic():.2f} {fault} {worker.pid}")
        match fault:
            case "kill" | "stop":
                self.excused.add(worker.pid)
                self.workers.remove(entry)
                if fault == "kill":
                    await worker.kill()
                else:
                    group.create_task(self._dismiss(worker))
                await self._hire()
            case "freeze":
                seconds = self.dice.choice([0.3, 1.0, 1.75 * LEASE_S])
                self.struck[-1] += f" for {seconds} s"
                if seconds > LEASE_S / 2:
                    self.excused.add(worker.pid)
                group.create_task(self._freeze(worker, seconds))
            case "slow":
                proxy.delay_s = self.dice.choice([0.0, 0.0, 0.05, 0.1])  # more is too slow to connect within a lease
                self.struck[-1] += f" by {proxy.delay_s} s"
            case "cut":
                for _, each in self.workers:
                    each.cut_all()
            case "drop_reply" | "half_reply" | "drop_request" | "black_hole":
                match, times = self.dice.choice(WHAT_MAY_STRIKE), self.dice.choice([1, 1, 3])
                if match == scripts.RENEW.sha:
                    self.excused.add(worker.pid)
                proxy.arm(Fault[fault.upper()], match, times=times)
                self.struck[-1] += f" {times} times at {match}"
            case _:
                await self._strike_server(fault)

    async def _strike_server(self, fault: str) -> None:
        raw, seconds = self.rig.raw, self.dice.choice([0.2, 1.0, 1.5 * LEASE_S])
        self.struck[-1] += f" for {seconds} s"
        match fault:
            case "flush":
                await raw.script_flush()
            case "restart":
                await self.rig.kill_server()
                await asyncio.sleep(self.dice.random())
                await self.rig.start_server(*DURABLE)
            case "pause":
                os.kill(self.rig.pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(self.rig.pid, signal.SIGCONT)
            case "full":
                await raw.config_set("maxmemory", 1)
                await asyncio.sleep(seconds)
                await raw.config_set("maxmemory", 0)
            case _:
                await raw.execute_command("REPLICAOF", "127.0.0.1", "1")
                await asyncio.sleep(seconds)
                await raw.execute_command("REPLICAOF", "NO", "ONE")

    @staticmethod
    async def _freeze(worker: WorkerProcess, seconds: float) -> None:
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if worker.process.returncode is None:
            worker.send_signal(signal.SIGCONT)

    async def _send(self, group: asyncio.TaskGroup, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            group.create_task(self._enqueue(f"job-{number}"))
            await asyncio.sleep(SEND_EVERY_S)

    async def _enqueue(self, job_id: str) -> None:
        dice, tasks = self.dice, self.rig.tasks
        options: dict[str, Any] = {"job_id": job_id, "priority": dice.choice([0, 5, 9]), "lifo": dice.random() < 0.1}
        if dice.random() < 0.2:
            options["countdown"] = dice.random()
        match dice.choices(range(6), weights=[40, 30, 5, 10, 10, 5])[0]:
            case 0:
                sending: Any = tasks.note.options(**options).delay()
            case 1:
                sending = tasks.nap.options(**options).delay(dice.random() / 10)
            case 2:
                sending = tasks.carry.options(**options).delay("x" * dice.choice([10, 17_000, 100_000]))
            case 3:
                self.failures[job_id] = 2
                sending = tasks.stumble.options(**options).delay(2)
            case 4:
                sending = tasks.nap_in_thread.options(**options).delay(dice.random() / 10)
            case _:
                sending = tasks.nap.options(**options).delay(1 + 3 * dice.random())
        try:
            job: Job[Any] = await sending
            self.acked.append(job.id)
        except StoreUnavailable as error:
            (self.unsure if error.sent else self.refused).append(job_id)
        except StoreError:
            self.refused.append(job_id)

    # --- what came of it ----------------------------------------------------------------------------------------

    async def _records(self) -> dict[str, bytes | None]:
        ids = [*self.acked, *self.unsure]
        found = await self.rig.raw.mget([f"{self.rig.prefix}job:{job_id}" for job_id in ids])
        return dict(zip(ids, found, strict=True))

    async def _settle(self) -> None:
        """Until no job waits or runs, and every worker that vanished has been reclaimed."""
        until_s = time.monotonic() + SETTLED_WITHIN_S
        while time.monotonic() < until_s:
            waiting = any(data is not None and data[1:2] == b"w" for data in (await self._records()).values())
            if not waiting and await self.rig.raw.zcard(f"{self.rig.prefix}workers") <= len(self.workers):
                return
            await asyncio.sleep(0.2)  # reading all records costs the server something, and nothing tells of all ends
        self.wrong.append(f"not settled within {SETTLED_WITHIN_S:g} s")

    async def _judge(self) -> None:
        ledger = self.rig.ledger
        ended = {entry.job_id for entry in ledger.ends()}
        for job_id, data in (await self._records()).items():
            self._judge_record(job_id, data, ended=job_id in ended)
        runs: dict[tuple[str, int], int] = {}  # by job and attempt: who ran it last
        again = 0
        for entry in ledger.starts():
            run = entry.job_id, entry.attempt
            again += run in runs
            if run in runs and runs[run] not in self.excused:
                said = f"{run} ran again in {entry.pid} at {entry.at_s:.2f} after {runs[run]}"
                self.wrong.append(f"{said}, to which nothing had happened")
            runs[run] = entry.pid
            if entry.attempt > 1 + self.failures.get(entry.job_id, 0):
                self.wrong.append(f"{run}: an attempt was used up")
        self.wrong += [f"{job_id} was refused and ran" for job_id in {run[0] for run in runs} & set(self.refused)]
        space = await leaks.read(self.rig.raw, self.rig.prefix)
        self.wrong += leaks.find_leaks(space)
        self.wrong += [f"{name} still holds {tickets[:3]}" for name, tickets in space.tickets.items() if tickets]
        self._judge_words()
        self.rig.measured(
            f"{len(self.acked)} acknowledged, {len(self.unsure)} unsure, {len(self.refused)} refused; "
            f"{again} attempts started again, {len(self.wrong)} things wrong"
        )

    def _judge_record(self, job_id: str, data: bytes | None, *, ended: bool) -> None:
        state = decode(job_id, data) if data else None
        if state is None:
            if job_id in self.acked or ended:
                self.wrong.append(f"{job_id} has vanished")
        elif state.state == "f" and state.doc.reason == "lost":
            return  # its workers were killed too often
        elif state.state != "s" or not ended:
            self.wrong.append(f"{job_id} is {state.state} ({state.doc.reason}), and has {'' if ended else 'not '}ended")

    def _judge_words(self) -> None:
        for worker in self.rig.crew:
            for word in ("Traceback", "mistake in aiotq"):
                if (at := worker.text.find(word)) >= 0:
                    self.wrong.append(f"worker {worker.pid} said: {worker.text[at : at + 3_000]}")


async def main() -> int:
    """Run it as the command line says."""
    seed, seconds, faults = (*sys.argv[1:], *("1", "20", ",".join(OF_A_WORKER + OF_THE_SERVER))[len(sys.argv) - 1 :])
    folder = Path(tempfile.mkdtemp(prefix="aiotq-soak-"))
    rig = Rig(folder=folder, namespace=f"soak-{seed}")
    soak = Soak(rig=rig, dice=random.Random(int(seed)))
    try:
        await soak.run(float(seconds), faults.split(","))
    finally:
        await rig.close()
        shutil.rmtree(folder, ignore_errors=True)
    for line in (*soak.wrong[:30], *(soak.struck if soak.wrong else ())):
        rig.measured(f"seed {seed}: {line}")
    return bool(soak.wrong)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
