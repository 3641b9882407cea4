"""What docs/guarantees.md promises and no other test shows."""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotq.store.scripts import ENQUEUE
from tests.faults.proxy import Fault, FaultProxy
from tests.process.rig import Rig

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2].joinpath("docs", "guarantees.md").read_text("utf-8")


async def test_jobs_awaited_one_after_the_other_start_in_that_order_whatever_is_lost(rig: Rig):
    await rig.start_server()
    async with FaultProxy(rig.folder / "s", rig.folder / "p") as proxy:
        await rig.send_through(proxy.url)
        await rig.tasks.note.options(queue="elsewhere").delay()  # the script is known from here on
        jobs = []
        for number in range(30):
            if number % 3:
                proxy.arm(Fault.DROP_REPLY if number % 2 else Fault.DROP_REQUEST, ENQUEUE.sha)
            jobs.append(await rig.tasks.note.delay())
        assert proxy.hits == 20
        worker = await rig.worker("-c", "1", "-q", "default")
        await rig.all_ended(jobs)
        assert [entry.job_id for entry in rig.ledger.starts()] == [job.id for job in jobs]
        await rig.stop(worker)


async def test_a_worker_of_concurrency_1_runs_one_job_after_the_other(rig: Rig):
    await rig.start_server()
    jobs = await rig.app.enqueue_many([rig.tasks.nap.s(0.01) for _ in range(20)])
    worker = await rig.worker("-c", "1")
    await rig.all_ended(jobs)
    told = [(entry.job_id, entry.what) for entry in rig.ledger.read()]
    assert told == [(job.id, what) for job in jobs for what in ("start", "end")]
    await rig.stop(worker)
    await rig.check(jobs)


async def test_the_example_refuses_a_write_that_comes_too_late(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    await rig.start_server()
    (tmp_path / "example_of_the_guarantees.py").write_text(
        code.replace("App()", f"App({rig.url!r}, namespace={rig.namespace!r})"), "utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    example: Any = importlib.import_module("example_of_the_guarantees")
    database = rig.folder / "shop.db"

    def ask(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(database)) as connection, connection:
            return connection.execute(statement).fetchall()

    ask("CREATE TABLE orders (id INTEGER, state TEXT, fence BIGINT NOT NULL)")
    ask("INSERT INTO orders VALUES (7, 'paid', 0), (8, 'paid', 9007199254740992)")
    async with example.app, example.app.worker():
        in_time, late = await asyncio.gather(*[example.ship.delay(str(database), order) for order in (7, 8)])
        assert await in_time.result(timeout=10) is True
        assert await late.result(timeout=10) is False
    assert [state for (state,) in ask("SELECT state FROM orders ORDER BY id")] == ["shipped", "paid"]
