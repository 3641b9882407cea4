"""A ticket that a strange hand has put into a line twice. aiotq never does: a job is in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiotq import App, current_job
from tests.worker.kit import Gate, until, within

if TYPE_CHECKING:
    from tests.worker.kit import Events, Keys


async def doubled(keys: Keys, line: str = "default:5") -> None:
    """Put what is in a line there once more."""
    name = f"{keys.prefix}line:{line}"
    await keys.client.rpush(name, *await keys.client.lrange(name, 0, -1))


@pytest.mark.parametrize("first", [0, 1])
async def test_two_workers_may_run_it_at_once_and_it_has_one_record_and_one_state_in_the_end(
    app: App, keys: Keys, first: int
) -> None:
    """Each worker's outcome is behind the fence of its own hands; so the later of the two is what stays."""
    gates = [Gate(), Gate()]
    fences: list[int] = []

    @app.task
    async def twice() -> int:
        run = len(fences)
        fences.append(current_job().fence)
        await gates[run].pass_through()
        return run

    job = await twice.delay()
    await doubled(keys)
    async with within(), app.worker(concurrency=1), app.worker(concurrency=1):
        await until(lambda: len(fences) == 2)
        assert fences[0] < fences[1], "a database that keeps the highest fence refuses one of them"
        for run in (first, 1 - first):
            gates[run].open()
            await until(lambda: _returned(app, job.id, run))  # noqa: B023  it is awaited here
        assert await keys.active() == set()
    assert await keys.line("default:5") == []
    assert await keys.end_states() == {"s": 1}
    assert await job.result(timeout=1) == 1 - first


async def _returned(app: App, job_id: str, run: int) -> bool:
    info = await app.job(job_id).info()
    return info.status == "succeeded" and info.result == run


async def test_one_worker_runs_it_once_and_after_its_end_nobody_runs_it(app: App, keys: Keys, events: Events) -> None:
    ran: list[str] = []

    @app.task
    async def once() -> None:
        ran.append(current_job().id)

    job = await once.delay()
    await doubled(keys)
    ticket = await keys.client.lindex(f"{keys.prefix}line:default:5", 0)
    async with within(), app.worker(concurrency=1) as worker:
        await worker.run_until_empty()
    await keys.client.rpush(f"{keys.prefix}line:default:5", ticket)
    await keys.client.zadd(f"{keys.prefix}lines:default", {"5": 5})
    async with within(), app.worker(concurrency=1) as other:
        await other.run_until_empty()
    assert ran == [job.id]
    assert await keys.line("default:5") == []
    assert await keys.end_states() == {"s": 1}
