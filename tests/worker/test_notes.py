"""Logs and progress of jobs: what a task writes is read by whoever asks, and costs no job anything."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, CurrentJob, Job, JobLogHandler, RetryPolicy, current_job
from aiotq.errors import JobNotFound, ResultTimeout
from aiotq.store.notes import MOST_LINES
from tests.worker.kit import WITHIN_S, Gate, ended, until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worker.kit import Keys


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One with a handler for jobs."""
    made, handler = logging.getLogger("shop.notes"), JobLogHandler()
    made.addHandler(handler)
    made.setLevel(logging.INFO)
    yield made
    made.removeHandler(handler)


async def texts(job: Job[Any]) -> list[str]:
    return [line.text for line in await job.logs()]


async def result(job: Job[Any]) -> Any:
    return await job.result(timeout=WITHIN_S)


async def test_what_a_task_writes_is_there_once_it_has_ended_on_the_loop_and_in_threads(any_app: App) -> None:
    def write(name: str) -> None:
        job = current_job()
        job.log(f"hello, {name}")
        job.log("take care", level="WARNING")
        job.progress(1, of=4)
        job.progress(2.5, of=4, note="half way")

    async def on_loop(name: str) -> None:
        write(name)
        await current_job().progress(3, of=4)

    tasks = [any_app.task(on_loop), any_app.task(write, name="in_thread")]
    async with any_app.worker():
        jobs = [await task.delay("Ada") for task in tasks]
        for job in jobs:
            await result(job)
            lines = await job.logs()
            assert [(line.level, line.text, line.attempt) for line in lines] == [
                ("info", "hello, Ada", 1),
                ("warning", "take care", 1),
            ]
            assert abs(lines[0].at - (await job.info()).enqueued_at).total_seconds() < WITHIN_S
    on_its_way = [await job.progress() for job in jobs]
    assert [(far.done, far.of, far.note) for far in on_its_way if far] == [(3, 4, None), (2.5, 4, "half way")]


async def test_a_job_that_writes_nothing_costs_no_call(app: App, noted: list[Any]) -> None:
    @app.task
    async def quiet() -> str:
        return current_job().id

    async with app.worker():
        job = await quiet.delay()
        assert await result(job) == job.id
    assert noted == []
    assert (await job.logs(), await job.progress()) == ((), None)


async def test_however_often_progress_is_said_the_store_hears_of_it_a_few_times_and_of_the_last_in_any_case(
    app: App, noted: list[Any]
) -> None:
    @app.task
    async def count(upto: int) -> None:
        for number in range(upto + 1):
            await current_job().progress(number, of=upto)

    async with app.worker():
        job = await count.delay(5_000)
        await result(job)
        far = await job.progress()
    assert far is not None
    assert (far.done, far.of) == (5_000, 5_000)
    assert len(noted) <= 20, "two a second, on a machine that is slow"


async def test_the_last_words_are_there_as_soon_as_the_end_is(app: App) -> None:
    @app.task
    async def brief(number: int) -> None:
        current_job().log(f"I was {number}")
        current_job().progress(number)

    async with app.worker():
        jobs = [await brief.delay(number) for number in range(200)]
        for number, job in enumerate(jobs):
            await result(job)
            far = await job.progress()
            assert (await texts(job), far and far.done) == ([f"I was {number}"], number)


async def test_a_log_survives_retries_and_says_of_which_attempt_each_line_is(app: App) -> None:
    @app.task(retries=2, retry=RetryPolicy(delays=[0.01]))
    async def fails() -> None:
        current_job().log("now")
        if not current_job().last_attempt:
            raise ValueError

    async with app.worker():
        job = await fails.delay()
        await result(job)
    assert [(line.text, line.attempt) for line in await job.logs()] == [("now", 1), ("now", 2), ("now", 3)]


async def test_of_very_many_lines_the_last_are_kept_and_the_others_counted(app: App) -> None:
    @app.task
    async def chatter() -> None:
        for number in range(1_000):
            current_job().log(f"line {number}")

    async with app.worker():
        job = await chatter.delay()
        await result(job)
    found = await texts(job)
    assert found == ["… 800 lines left out", *[f"line {number}" for number in range(800, 1_000)]]
    assert len(found) == MOST_LINES + 1


HOSTILE = [
    ("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
    ("half \ud800", "half \\ud800"),
    ("right\u202eleft", "right\\u202eleft"),
    ("two\r\nlines\tof it", "two\nlines\tof it"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ("x" * 10_000_000, "x" * 2_045 + "…"),
    ("é" * 2_000, "é" * 1_022 + "…"),
    (b"bytes", "b'bytes'"),
]


async def test_hostile_text_is_made_harmless(app: App) -> None:
    @app.task
    async def hostile() -> None:
        job = current_job()
        for text, _ in HOSTILE:
            job.log(text, level="\x1b WARNING \n of a very long name")
        job.progress(1, note="\x00" + "n" * 10_000)

    async with app.worker():
        job = await hostile.delay()
        await result(job)
    lines, far = await job.logs(), await job.progress()
    assert [line.text for line in lines] == [shown for _, shown in HOSTILE]
    assert {line.level for line in lines} == {"\\x1b warning of a v"}
    assert far is not None
    assert far.note == "\\x00" + "n" * 499


async def test_what_is_no_finite_progress_is_not_said(app: App) -> None:
    @app.task
    async def odd() -> None:
        job = current_job()
        await job.progress(2, of=float("nan"))
        await job.progress(float("inf"))
        await job.progress(10**400)

    async with app.worker():
        job = await odd.delay()
        await result(job)
    far = await job.progress()
    assert far is not None
    assert (far.done, far.of) == (2, None)


# --- logging ------------------------------------------------------------------------------------------------------


async def test_a_handler_takes_what_is_logged_inside_a_job_and_of_that_job_alone(
    app: App, logger: logging.Logger
) -> None:
    @app.task
    async def on_loop(name: str) -> None:
        await asyncio.sleep(0)
        logger.info("%s is here", name)
        logger.debug("too little")
        try:
            raise ValueError(name)
        except ValueError:
            logger.exception("oh")

    @app.task
    def in_thread(name: str) -> None:
        logger.warning("%s is here", name)

    async with app.worker():
        first, second, third = await on_loop.delay("Ada"), await on_loop.delay("Bob"), await in_thread.delay("Cyd")
        await ended(first, second, third)
    logger.info("nobody's")
    for job, name in ((first, "Ada"), (second, "Bob")):
        lines = await job.logs()
        assert [line.level for line in lines] == ["info", "error"]
        assert lines[0].text == f"{name} is here"
        assert lines[1].text.startswith("oh\nTraceback")
        assert lines[1].text.endswith(f"ValueError: {name}")
    assert await texts(third) == ["Cyd is here"]


async def test_a_workers_own_lines_are_no_jobs(app: App, impatient: None) -> None:
    """Some are said in the context of one."""
    own, handler = logging.getLogger("aiotq"), JobLogHandler()
    own.addHandler(handler)
    own.setLevel(logging.DEBUG)

    @app.task(retries=0)
    async def runs(seconds: float) -> None:
        current_job().log("mine")
        await asyncio.sleep(seconds)

    try:
        async with app.worker():
            jobs = [await runs.delay(number / 1_000) for number in range(20)]
            await ended(*jobs)
    finally:
        own.setLevel(logging.NOTSET)
        own.removeHandler(handler)
    assert [await texts(job) for job in jobs] == [["mine"]] * 20


async def test_what_a_task_goes_on_to_write_after_its_end_is_dropped(app: App) -> None:
    over, written = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task
    def leaves_a_thread() -> None:
        job = current_job()

        def write() -> None:
            asyncio.run_coroutine_threadsafe(over.wait(), loop).result()
            job.log("late")
            job.progress(9)
            written.set()

        threading.Thread(target=write, daemon=True).start()
        job.log("in time")

    async with app.worker():
        job = await leaves_a_thread.delay()
        await result(job)
        over.set()
        await until(written.is_set)
        assert (await texts(job), await job.progress()) == (["in time"], None)


async def test_a_thread_that_outlives_its_worker_may_write_and_nobody_hears(app: App) -> None:
    kept: list[CurrentJob] = []

    @app.task
    async def keeps() -> None:
        kept.append(current_job())

    async with app.worker():
        job = await keeps.delay()
        await result(job)
    kept[0].log("late")
    kept[0].progress(1)
    assert await texts(job) == []


# --- while it runs ------------------------------------------------------------------------------------------------


async def test_who_watches_sees_it_go_on_and_the_end(app: App) -> None:
    steps = [asyncio.Event() for _ in range(3)]

    @app.task
    async def by_steps() -> None:
        for number, step in enumerate(steps):
            await current_job().progress(number, of=3)
            await step.wait()
        await current_job().progress(3, of=3)

    async def seen_by(job: Job[Any]) -> list[float]:
        seen: list[float] = []
        async for far in job.watch(timeout=WITHIN_S):
            seen.append(far.done)
            if far.done < len(steps):
                steps[int(far.done)].set()
        return seen

    async with app.worker():
        job = await by_steps.delay()
        async with within():
            several = await asyncio.gather(*[seen_by(job) for _ in range(3)])
        await result(job)
        assert await seen_by(job) == [3], "of one that has ended: how far it came"
    assert all(seen[-1] == 3 and seen == sorted(set(seen)) for seen in several)
    assert max(map(len, several)) == 4


async def test_lines_are_there_while_the_job_runs(app: App) -> None:
    gate = Gate()

    @app.task
    async def waits() -> None:
        current_job().log("I wait")
        await gate.pass_through()

    async with app.worker():
        job = await waits.delay()

        async def seen() -> bool:
            return await texts(job) == ["I wait"]

        await until(seen)
        gate.open()
        await result(job)


async def test_a_watch_ends_at_its_time_and_there_is_none_without_a_job(app: App) -> None:
    gate = Gate()

    @app.task
    async def waits() -> None:
        await gate.pass_through()

    async with app.worker():
        job = await waits.delay()
        with pytest.raises(ResultTimeout, match="is running"):
            async for _ in job.watch(timeout=0.05):
                pass
        gate.open()
        await result(job)
        assert [far async for far in job.watch()] == []
        for reads in (app.job("nobody").logs, app.job("nobody").progress, lambda: anext(app.job("nobody").watch())):
            with pytest.raises(JobNotFound):
                await reads()


async def test_a_watch_goes_on_over_a_new_connection(app: App, keys: Keys) -> None:
    gates = [Gate(), Gate()]

    @app.task
    async def two() -> None:
        for number, gate in enumerate(gates):
            await current_job().progress(number)
            await gate.pass_through()

    async with app.worker():
        job, seen = await two.delay(), list[float]()
        async for far in job.watch(timeout=WITHIN_S):
            seen.append(far.done)
            if far.done == 0:
                await keys.client.client_kill_filter(_type="pubsub")
            gates[int(far.done)].open()
        await result(job)
    assert seen == [0, 1]
