"""Logs and progress of tasks with process=True."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiotq.errors import JobFailed
from tests.process import burn
from tests.process.ledger import until
from tests.process.pool_rig import WITHIN_S, app, ledger

if TYPE_CHECKING:
    from aiotq import App
    from tests.process.ledger import Ledger

__all__ = ["app", "ledger"]  # fixtures
FIRST = [("warning", "by itself"), ("error", "by logging"), ("info", "from a thread")]


async def test_what_it_writes_is_seen_while_it_runs_and_all_of_it_once_it_has_ended(
    app: App, ledger: Ledger, tmp_path: Path
) -> None:
    async with app.worker():
        job = await burn.writes.delay("well")

        async def seen() -> bool:
            lines, far = await job.logs(), await job.progress()
            said = [(line.level, line.text) for line in lines]
            return said == FIRST and far is not None and far.done == 99_999

        await until(seen, "what it has written")
        (tmp_path / "gate").touch()
        await job.result(timeout=WITHIN_S)
        lines, far = await job.logs(), await job.progress()
    assert [(line.level, line.text) for line in lines] == [*FIRST, ("info", "at the end")]
    assert far is not None
    assert (far.done, far.of) == (100_000, 100_000)
    info = await job.info()
    assert all(info.enqueued_at <= line.at for line in lines)
    assert info.finished_at is not None
    assert (lines[-1].at - info.finished_at).total_seconds() < 0.1, "by Redis's clock, whatever this machine's says"


async def test_of_a_process_that_dies_what_it_had_sent_is_kept(app: App, ledger: Ledger, tmp_path: Path) -> None:
    async with app.worker():
        job = await burn.writes.delay("killed")

        async def seen() -> bool:
            return len(await job.logs()) == len(FIRST)

        await until(seen, "what it has written")
        (tmp_path / "gate").touch()
        with pytest.raises(JobFailed, match="ProcessDied"):
            await job.result(timeout=WITHIN_S)
        assert [(line.level, line.text) for line in await job.logs()][: len(FIRST)] == FIRST


async def test_one_that_chatters_is_bounded_and_what_was_left_out_is_counted(app: App) -> None:
    async with app.worker():
        job = await burn.chatters.delay()
        await job.result(timeout=WITHIN_S)
        lines = [line.text for line in await job.logs()]
    assert lines[0] == "… 4,800 lines left out"
    assert lines[1:] == [f"line {number}" for number in range(4_800, 5_000)]
