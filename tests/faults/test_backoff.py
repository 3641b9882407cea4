"""How workers try again while their store is away, or loads: not in haste, not in step, and soon enough to be back.

Each worker comes through a proxy of its own, which notes when a connection is asked for: each try asks for one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from aiotq import App
from tests.faults.proxy import FaultProxy
from tests.faults.scale import scaled
from tests.faults.server_rig import DURABLE, SLOWLY, ServerRig
from tests.faults.stopwatch import Stopwatch, starved_s, stolen_s
from tests.faults.vitals import load_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.faults.invariants import Load

CAP_S = 1.0  # between two tries
BACK_WITHIN_S = 1.0
AWAY_S = scaled(4.0, 20.0)
KEYS = scaled(4_000, 20_000)  # to load: a millisecond each
DUTIES = 4  # of a worker, each of which tries by itself: the fetcher, its wait, the keeper, the poller
RAMP = 6  # tries of a duty until its pause has grown to the cap
STEP_S = 0.01  # tries of two workers that are nearer than this are one step
GROWN_S = 3.0  # after so long a pause that has no cap is longer than a second
SETTLED_S = 1.0  # after so long the pauses have grown, and each draw counts


@pytest_asyncio.fixture
async def rig(server_folder: Path, namespace: str) -> AsyncIterator[ServerRig]:
    made = ServerRig(folder=server_folder, namespace=namespace)
    yield made
    await made.close()


def judge(rig: ServerRig, tries: Sequence[Sequence[float]], began_s: float, ended_s: float, others_s: float) -> None:
    """The tries of two workers between two moments. others_s: for so long nobody could run, as others had the cores."""
    first, second = ([at_s for at_s in one if began_s <= at_s <= ended_s] for one in tries)
    lasted_s = ended_s - began_s
    for one in (first, second):
        gaps_s = [later - earlier for earlier, later in pairwise([began_s, *one, ended_s])]
        rig.measured(f"{len(one) / lasted_s:.1f} tries/s in {lasted_s:.1f} s, the longest pause {max(gaps_s):.2f} s")
        assert len(one) <= DUTIES * (RAMP + 2 * lasted_s / CAP_S)
        assert max(gaps_s) <= CAP_S + others_s
    late = [at_s for at_s in first if at_s > began_s + SETTLED_S]
    in_step = sum(any(abs(at_s - other_s) < STEP_S for other_s in second) for at_s in late)
    rig.measured(f"{in_step} of {len(late)} tries in step with the other worker's")
    assert in_step <= len(late) / 2


@pytest.mark.parametrize("state", ["away", "LOADING"])
async def test_tries_are_few_and_out_of_step_and_all_are_back_within_a_second(rig: ServerRig, state: str):
    await rig.start_server(*(DURABLE if state == "away" else ()))
    async with AsyncExitStack() as stack:
        proxies = [FaultProxy(rig.folder / "s", rig.folder / f"p{number}") for number in range(2)]
        for proxy in proxies:
            await stack.enter_async_context(proxy)
        workers = [await rig.worker("-c", "1", "--lease", "60", url=proxy.url) for proxy in proxies]
        held = [await rig.tasks.hold.delay() for _ in workers]
        await rig.ledger.until(2)
        await rig.baseline()
        if state == "LOADING":
            await rig.fill(KEYS)
            await rig.raw.save()
        await rig.kill_server()
        rig.open_gate()  # each has an outcome to store, and so tries
        for worker in workers:
            await worker.line("store_down")
        before_s = starved_s(os.getpid(), *[worker.pid for worker in workers]) + stolen_s()
        loading = asyncio.create_task(rig.start_server(*SLOWLY)) if state == "LOADING" else None
        if loading is not None:
            await rig.until_loading()
        began_s, loads = time.monotonic(), [load_of(worker) for worker in workers]
        await (asyncio.sleep(AWAY_S) if loading is None else loading)  # the length of the fault
        ended_s, later = time.monotonic(), [load_of(worker) for worker in workers]
        others_s = starved_s(os.getpid(), *[worker.pid for worker in workers]) + stolen_s() - before_s
        if loading is None:
            await rig.start_server(*DURABLE)
        back = Stopwatch(rig.pid, *(worker.pid for worker in workers))
        await rig.all_ended(held)
        for worker in workers:
            await worker.line("store_up")
        rig.took(back, f"all stored after {state}", BACK_WITHIN_S)
        judge(rig, [proxy.came_s for proxy in proxies], began_s, ended_s, others_s)
        away: list[tuple[Load, Load]] = list(zip(loads, later, strict=True))
        await rig.stop(*workers)
    await rig.check(held, away=away, times=rig.times)


async def test_no_duty_pauses_for_longer_than_a_second_and_each_draws_its_pauses(
    rig: ServerRig, monkeypatch: pytest.MonkeyPatch
):
    """The worker is of this process, so that what it draws can be seen."""
    drawn: list[tuple[float, float]] = []
    draw = random.uniform

    def noted(least: float, most: float) -> float:
        drawn.append((least, most))
        return draw(least, most)

    await rig.start_server(*DURABLE)
    async with App(rig.url, namespace=rig.namespace).worker():
        monkeypatch.setattr(random, "uniform", noted)
        await rig.kill_server()
        await asyncio.sleep(GROWN_S)  # the length of the fault
        await rig.start_server(*DURABLE)
    longest_s = max(most for _, most in drawn)
    rig.measured(f"{len(drawn)} pauses in {GROWN_S:g} s, of {longest_s:.2f} s at most")
    assert CAP_S / 2 < longest_s <= CAP_S
    assert all(least <= most / 2 for least, most in drawn)
    await rig.check([])
