"""Acts that outlive the page that asked for them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aiotq.errors import StoreUnavailable
from aiotq.web.running import Running


@pytest.mark.parametrize(
    ("error", "level", "said"),
    [
        (StoreUnavailable("no answer", verb="retry", url="redis://here", sent=True), logging.WARNING, "no answer"),
        (ValueError("x"), logging.ERROR, "an act failed, by a mistake in aiotq; please report it"),
    ],
)
async def test_an_act_that_fails_after_its_page_was_closed_is_told_in_the_log(
    error: Exception, level: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on, acts = asyncio.Event(), asyncio.Event(), Running()

    async def act() -> None:
        begun.set()
        await go_on.wait()
        raise error

    page = asyncio.get_running_loop().create_task(acts.whole(act()))
    await begun.wait()
    page.cancel()
    await asyncio.wait([page])
    assert page.cancelled()
    go_on.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    [record] = caplog.records
    assert (record.name, record.levelno) == ("aiotq.web", level)
    assert said in record.getMessage()


async def test_the_end_of_the_process_ends_an_act_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    begun, acts = asyncio.Event(), Running()

    async def act() -> None:
        begun.set()
        await asyncio.Event().wait()

    page = asyncio.get_running_loop().create_task(acts.whole(act()))
    await begun.wait()
    page.cancel()
    await asyncio.wait([page])
    await acts.end()
    assert not caplog.records
