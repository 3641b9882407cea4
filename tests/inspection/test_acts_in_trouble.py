"""Acts on one job, called again, with lost answers, and with a right missing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus, Reject, RetryPolicy
from aiotq.errors import JobCancelled, JobFailed, JobNotFound, StoreError
from aiotq.inspection import JobFilter
from aiotq.inspection.acts import Act
from aiotq.inspection.hand import TOLD
from aiotq.store import scripts
from tests.conftest import CONNECT_TIMEOUT_S
from tests.contract.test_half_done import places
from tests.faults.proxy import Fault, FaultProxy
from tests.inspection.kit import CUTS, REAL, Shop, came_to
from tests.rights import user
from tests.worker.kit import until
from tools import acl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiotq import Inspector, Job
    from tests.servers import Server

ACTS: dict[str, tuple[str, JobStatus | None]] = {
    "retry": ("dead", JobStatus.QUEUED),
    "discard": ("dead", None),
    "cancel": ("waits", JobStatus.CANCELLED),
    "promote": ("later", JobStatus.QUEUED),
    "requeue": ("waits", JobStatus.QUEUED),
}


# --- lost answers


@REAL
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("act", ACTS)
async def test_an_act_whose_answer_is_lost_is_done_once(
    shop: App, far: Inspector, proxy: FaultProxy, act: str, fault: Fault
) -> None:
    name, status = ACTS[act]
    job = (await Shop(shop).jobs())[name]
    proxy.arm(fault, (scripts.DISCARD if act == "discard" else scripts.REPLACE).sha, times=2)

    assert await getattr(far, act)(job.id)

    assert proxy.hits == 2
    assert await came_to(job) is status
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["done"]


@REAL
@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name.lower())
async def test_a_pause_whose_answer_is_lost_has_paused(
    shop: App, far: Inspector, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.arm(fault, scripts.PAUSE.sha, times=2)
    assert await far.pause("runs")
    proxy.arm(fault, scripts.RESUME.sha, times=2)
    assert await far.resume("runs")

    assert proxy.hits == 4
    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["done", "done"]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_job_that_goes_on_while_the_answer_is_lost_was_retried_by_who_asked_and_stopped(
    shop: App, far: Inspector, proxy: FaultProxy
) -> None:
    raised: list[Exception] = [ValueError("waits then"), Reject("for good")]

    async def fails() -> None:
        raise raised.pop()

    job = await shop.task(fails, name="again", retry=RetryPolicy(delays=[3_600])).delay()

    async def waits_again() -> bool:
        return await job.status() is JobStatus.SCHEDULED

    async with shop.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
        proxy.arm(Fault.DROP_REPLY, scripts.REPLACE.sha)
        acting = asyncio.ensure_future(far.retry(job.id))
        await proxy.struck()
        proxy.freeze()
        await until(waits_again)
        proxy.thaw()
        assert await acting

        runs = await shop.task(_endless, name="endless").delay()

        async def running() -> bool:
            return await runs.status() is JobStatus.RUNNING

        await until(running)
        proxy.arm(Fault.DROP_REPLY, scripts.CANCEL.sha)
        acting = asyncio.ensure_future(far.act(Act.CANCEL, runs.id))
        await proxy.struck()
        proxy.freeze()
        with pytest.raises(JobCancelled):
            await runs.result(timeout=10)
        proxy.thaw()
        assert await acting == TOLD

    assert [entry.came_to for entry in (await shop.inspect.audit()).items] == ["its worker was told", "done"]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_job_that_is_gone_by_the_time_that_the_lost_answer_is_asked_for_again_was_retried(
    shop: App, far: Inspector, proxy: FaultProxy, raw: Any, prefix: str
) -> None:
    job = (await Shop(shop).jobs())["dead"]
    proxy.arm(Fault.DROP_REPLY, scripts.REPLACE.sha)
    acting = asyncio.ensure_future(far.retry(job.id))
    await proxy.struck()
    proxy.freeze()
    await raw.delete(f"{prefix}job:{job.id}")  # it has ended, and its result was kept for no longer
    proxy.thaw()

    assert await acting
    with pytest.raises(JobNotFound):
        await far.retry(job.id)

    assert [entry.came_to[:6] for entry in (await shop.inspect.audit()).items] == ["failed", "done"]


async def test_an_act_on_a_server_that_is_silent_waits_no_longer_than_a_read() -> None:
    loop, limit_s, done = asyncio.get_running_loop(), 2, asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async def took(act: Callable[[Inspector], Awaitable[Any]]) -> float:
        app = App(f"redis://127.0.0.1:{port}", connect_timeout=limit_s)
        began = loop.time()
        with pytest.raises(StoreError):
            await act(app.inspect)
        await app._core.close()
        return loop.time() - began

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        acts: list[Callable[[Inspector], Awaitable[Any]]] = [
            lambda look: look.cancel("x"),
            lambda look: look.pause("q"),
            lambda look: look.purge("q"),
            lambda look: look.retry_all(JobFilter()),
        ]
        try:
            assert max(await asyncio.gather(*map(took, acts))) < 1.7 * limit_s
        finally:
            done.set()


async def _endless() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("act", ACTS)
async def test_an_act_that_is_called_again_is_as_it_was_and_leaves_an_entry_for_each(
    shop: App, hand: Inspector, bench: Any, act: str
) -> None:
    name, status = ACTS[act]
    job = (await Shop(shop).jobs())[name]
    assert await getattr(hand, act)(job.id)
    before = (await bench.census()).lines

    assert await getattr(hand, act)(job.id)

    assert await came_to(job) is status
    assert set((await places(bench)).values()) == {1}
    assert len((await hand.audit()).items) == 2
    if act != "requeue":  # which puts it to the back once more
        assert (await bench.census()).lines == before


# --- rights


async def _purge(hand: Inspector, _: Job[Any]) -> bool:
    return (await hand.purge("runs")).ended > 0


STEPS: dict[str, tuple[str, Callable[[Inspector, Job[Any]], Awaitable[bool]]]] = {
    "retry": ("dead", lambda hand, job: hand.retry(job.id)),
    "discard": ("dead", lambda hand, job: hand.discard(job.id)),
    "cancel": ("waits", lambda hand, job: hand.cancel(job.id)),
    "promote": ("later", lambda hand, job: hand.promote(job.id)),
    "requeue": ("waits", lambda hand, job: hand.requeue(job.id, queue="other")),
    "purge": ("waits", _purge),
}


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
async def test_without_any_one_right_nothing_is_half_done_and_the_act_can_be_repeated(
    shop: App, server: Server, namespace: str, raw: Any, bench: Any, step: str
) -> None:
    name, act = STEPS[step]
    tasks, rights, refused = Shop(shop), acl.commands("operator"), 0
    for command in sorted(rights):
        job = (await tasks.jobs())[name]
        before = await came_to(job)
        async with user(raw, server, namespace, rights - {command}) as url:
            app = App(url, namespace=namespace, connect_timeout=CONNECT_TIMEOUT_S)
            try:
                await act(app.inspect, job)
            except StoreError:
                refused += 1
            await app._core.close()
        half = await places(bench)
        assert set(half.values()) <= {1}, f"without {command}: {half}"
        again = await came_to(job)

        if again is before:
            assert await act(shop.inspect, job)

        assert set((await places(bench)).values()) <= {1}, f"repeated after {command} was missing"
        if step == "discard":
            assert await came_to(job) is None, f"without {command}"
            assert job.id not in (await bench.census()).dead, f"without {command}"
        elif step == "purge":
            assert await came_to(job) is JobStatus.CANCELLED, f"without {command}"
        await bench.wipe()
    assert refused > 2
