"""What changes by itself: one reader whatever the number of viewers, and none when nobody looks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from aiotq.errors import StoreUnavailable
from aiotq.job import JobStatus
from aiotq.web import board, live
from aiotq.web.hub import MAX_TOPICS, Hub
from tests.web import sample
from tests.web.streams import stream
from tests.web.visitor import visitor

VIEWERS = 10


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test need not wait for seconds."""
    for module in (board, live):
        monkeypatch.setattr(module, "OVERVIEW_EVERY_S", 0.02)
    monkeypatch.setattr(board, "JOB_EVERY_S", 0.02)


def reads(inspector: Any, name: str = "overview") -> int:
    return sum(what[0] == name for what in inspector.asked)


async def test_a_viewer_gets_the_parts_of_its_page_and_the_charts(dashboard: Any) -> None:
    async with stream(dashboard) as events:
        await events.next("back")
        parts = await events.next("parts")
        assert set(parts) == {f"live-{part}" for part in live.PARTS["overview"]}
        assert "1,204" in parts["live-queues"]
        charts = await events.next("charts")
        assert len(charts["series"]["at"]) == 60
        assert charts["series"]["waited_p50"][0] == 5


async def test_ten_viewers_cost_as_many_reads_as_one(dashboard: Any, inspector: Any) -> None:
    async with AsyncExitStack() as stack:
        open_streams = [await stack.enter_async_context(stream(dashboard)) for _ in range(VIEWERS)]
        for events in open_streams:
            await events.next("charts")
        before, loop = reads(inspector), asyncio.get_running_loop()
        began = loop.time()
        for number in range(10):  # of each event a viewer is told, the other viewers hear too
            inspector.text = f"mail-{number}"
            for events in open_streams:
                await events.next("parts")
        took = loop.time() - began
        # A read waits until the last one is 0.02 s old; with a reader each there were ten times as many.
        assert reads(inspector) - before <= took / 0.02 + 2


async def test_nothing_is_read_when_nobody_looks(dashboard: Any, inspector: Any) -> None:
    async with stream(dashboard) as events:
        await events.next("charts")
    asked = len(inspector.asked)
    await asyncio.sleep(0.1)  # five times what a reader would wait
    assert len(inspector.asked) == asked


async def test_only_what_has_changed_is_sent(dashboard: Any, inspector: Any) -> None:
    async with stream(dashboard, "page=queues") as events:
        first = await events.next("parts")
        assert set(first) == {"live-pulse", "live-queues"}
        inspector.text = "letters"
        second = await events.next("parts")
        assert set(second) == {"live-queues"}
        assert "letters" in second["live-queues"]


async def test_what_a_job_says_stays_text_in_events_too() -> None:
    from aiotq.web import aiotq_dashboard

    evil = aiotq_dashboard(sample.app(sample.Inspector(text=sample.EVIL, status=JobStatus.RUNNING)))
    for query in ("page=overview", "page=queues", "page=workers", f"page=job&name={sample.JOB}&status=running"):
        async with stream(evil, query) as events:
            for html in (await events.next("parts")).values():
                assert "<script" not in html
                assert "<img" not in html


async def test_a_running_job_shows_how_far_it_is_and_its_end_loads_the_page_anew(
    dashboard: Any, inspector: Any
) -> None:
    inspector.status = JobStatus.RUNNING
    async with stream(dashboard, f"page=job&name={sample.JOB}&status=running") as events:
        first = await events.next("parts")
        assert "3 of 10" in first["live-progress"]
        known = sample.detail(status=JobStatus.RUNNING)
        assert known.progress is not None
        inspector.job_detail = replace(known, progress=replace(known.progress, done=4))
        assert "4 of 10" in (await events.next("parts"))["live-progress"]
        inspector.job_detail = sample.detail(status=JobStatus.SUCCEEDED)
        assert await events.next("reload") == {"why": "succeeded"}


async def test_a_job_is_read_as_text_by_its_page_and_without_arguments_by_its_stream(
    dashboard: Any, inspector: Any
) -> None:
    async with visitor(dashboard) as client:
        await client.get(f"/jobs/{sample.JOB}")
    assert inspector.asked.count(("job", sample.JOB, False, True)) == reads(inspector, "job") == 1  # not as values
    async with stream(dashboard, f"page=job&name={sample.JOB}&status=failed") as events:
        await events.next("parts")
    assert inspector.asked.count(("job", sample.JOB, False, False)) == reads(inspector, "job") - 1 >= 1


async def test_a_server_that_goes_away_is_said_and_that_it_is_back(dashboard: Any, inspector: Any) -> None:
    async with stream(dashboard) as events:
        await events.next("charts")
        inspector.away = True
        away = await events.next("away")
        assert "no answer from redis://localhost:6379" in away["why"]
        inspector.away = False
        await events.next("back")


async def test_a_stream_ends_by_itself_so_that_a_service_can_stop(dashboard: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "STREAM_S", 0.05)
    async with stream(dashboard) as events:
        await events.next("charts")
        await asyncio.wait_for(events.ended.wait(), 5)


async def test_all_streams_end_when_the_dashboard_stops(dashboard: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "OVERVIEW_EVERY_S", 60)
    async with stream(dashboard) as events:
        await events.next("charts")
        dashboard.hub.close()
        await asyncio.wait_for(events.ended.wait(), 5)


async def test_there_are_only_so_many_streams(dashboard: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    async with stream(dashboard) as events:
        await events.next("charts")
        async with visitor(dashboard) as client:
            assert (await client.get("/events?page=none")).status_code == 503


# --- the hub ------------------------------------------------------------------------------------------------------


async def test_whoever_asks_while_a_topic_is_read_waits_for_that_read() -> None:
    hub, gate, number = Hub(), asyncio.Event(), 0

    async def read() -> int:
        nonlocal number
        number += 1
        await gate.wait()
        return number

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(hub.get("a", read, fresh_s=60)) for _ in range(5)]
        await asyncio.sleep(0)
        gate.set()
    assert {task.result().value for task in asked} == {1}


async def test_a_reader_who_goes_leaves_the_read_to_the_next() -> None:
    hub, gate = Hub(), asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def quick() -> str:
        return "quick"

    async with asyncio.TaskGroup() as group:
        first = group.create_task(hub.get("a", slow, fresh_s=60))
        await asyncio.sleep(0)
        second = group.create_task(hub.get("a", quick, fresh_s=60))
        await asyncio.sleep(0)
        first.cancel()
    assert second.result().value == "quick"


async def test_while_the_server_is_away_only_one_waits_for_it() -> None:
    hub, gate, away = Hub(), asyncio.Event(), StoreUnavailable("gone", verb="x", url="", sent=False)

    async def fails() -> str:
        raise away

    async def hangs() -> str:
        await gate.wait()
        return "back"

    assert (await hub.get("a", fails, fresh_s=0)).away is away
    async with asyncio.TaskGroup() as group:
        first = group.create_task(hub.get("a", hangs, fresh_s=0))
        await asyncio.sleep(0)
        assert (await hub.get("a", hangs, fresh_s=0)).away is away  # at once
        gate.set()
    assert first.result().value == "back"


async def test_what_was_read_during_an_act_is_read_again() -> None:
    hub = Hub()

    async def read() -> str:
        hub.forget()
        return "old"

    async def again() -> str:
        return "new"

    await hub.get("a", read, fresh_s=60)
    assert (await hub.get("a", again, fresh_s=60)).value == "new"


async def test_topics_are_bounded() -> None:
    hub = Hub()

    async def read() -> int:
        return 1

    for number in range(MAX_TOPICS + 50):
        await hub.get(str(number), read, fresh_s=60)
    assert len(hub._topics) == MAX_TOPICS
