"""Whatever a task raises is the outcome of its job, and never the end of the worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aiotq import App, RetryPolicy
from aiotq.errors import JobFailed, SerializationError
from tests.worker.kit import Gate


class Base(BaseException):
    pass


class Hostile(Exception):
    """Nothing can be made of it but its type."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class HostileExit(Hostile):
    def __str__(self) -> str:
        raise SystemExit("no text either")

    __repr__ = __str__


def recurse() -> None:
    recurse()


def allocate() -> None:
    bytearray(sys.maxsize)


def group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])


def base_group() -> None:
    raise BaseExceptionGroup("several", [ValueError("one"), SystemExit(3)])


def chained() -> None:
    try:
        raise KeyError("cause")
    except KeyError as error:
        raise LookupError("effect") from error


def raises(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


# What is done, the type that is stored, a part of the message that is stored.
CASES: dict[str, tuple[Callable[[], None], str, str]] = {
    "Exception": (raises(Exception("plain")), "Exception", "plain"),
    "ValueError": (raises(ValueError("no Bobs")), "ValueError", "no Bobs"),
    "BaseException": (raises(Base("own")), "tests.worker.test_raising:Base", "own"),
    "SystemExit": (lambda: sys.exit(7), "SystemExit", "7"),
    "KeyboardInterrupt": (raises(KeyboardInterrupt()), "KeyboardInterrupt", ""),
    "GeneratorExit": (raises(GeneratorExit("gen")), "GeneratorExit", "gen"),
    "RecursionError": (recurse, "RecursionError", "recursion"),
    "MemoryError": (allocate, "MemoryError", ""),
    "CancelledError": (raises(asyncio.CancelledError("by itself")), "asyncio.exceptions:CancelledError", "by itself"),
    "TimeoutError": (raises(TimeoutError("the user's")), "TimeoutError", "the user's"),
    "ExceptionGroup": (group, "ExceptionGroup", "KeyError: 'two'"),
    "BaseExceptionGroup": (base_group, "BaseExceptionGroup", "SystemExit: 3"),
    "chained": (chained, "LookupError", "caused by KeyError"),
    "no text": (raises(Hostile()), "tests.worker.test_raising:Hostile", "can't be shown"),
    "text that exits": (raises(HostileExit()), "tests.worker.test_raising:HostileExit", "can't be shown"),
    "lone surrogate": (raises(ValueError("a \udc80 b")), "ValueError", "\\udc80"),
    "long text": (raises(ValueError("x" * 1_000_000)), "ValueError", "xxx"),
    "SerializationError": (raises(SerializationError("the user's own")), "SerializationError", "own"),
}
# Python itself turns a StopIteration that leaves a coroutine into a RuntimeError.
STOPS: dict[str, tuple[Callable[[], None], dict[str, str]]] = {
    "StopIteration": (raises(StopIteration("done")), {"loop": "RuntimeError", "thread": "StopIteration"}),
    "StopAsyncIteration": (
        raises(StopAsyncIteration("done")),
        {"loop": "StopAsyncIteration", "thread": "StopAsyncIteration"},
    ),
}


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.parametrize("case", [*CASES, *STOPS])
async def test_whatever_is_raised_fails_that_job_and_nothing_else(app: App, case: str, where: str) -> None:
    if case in CASES:
        body, stored, message = CASES[case]
    else:
        body, message = STOPS[case][0], ""
        stored = STOPS[case][1][where]
    gate = Gate()

    async def on_loop() -> None:
        await asyncio.sleep(0)
        body()

    def in_thread() -> None:
        body()

    @app.task
    async def sibling() -> str:
        await gate.pass_through()
        return "unharmed"

    task = app.task(on_loop if where == "loop" else in_thread, name="task", retries=1, retry=RetryPolicy(delays=[0]))
    async with app.worker() as worker:
        beside = await sibling.delay()
        await gate.reached()
        job = await task.delay()
        with pytest.raises(JobFailed) as failed:
            await job.result(timeout=10)
        assert failed.value.error_type == stored
        assert message in failed.value.error_message
        info = await job.info()
        assert info.attempt == 2  # one retry: every way to fail counts as one
        assert info.reason == "error"
        assert [attempt.error.type for attempt in info.attempts if attempt.error] == [stored] * 2
        gate.open()
        assert await beside.result(timeout=10) == "unharmed"
        assert worker.tally == {"succeeded": 1, "failed": 1, "retried": 1, "returned": 0, "cancelled": 0}


async def test_the_users_frames_are_kept_and_no_others(app: App) -> None:
    def inner() -> None:
        raise ValueError("deep")

    @app.task(retries=0)
    async def outer() -> None:
        inner()

    @app.task(retries=0)
    def in_thread() -> None:
        inner()

    async with app.worker():
        for task, name in ((outer, "outer"), (in_thread, "in_thread")):
            with pytest.raises(JobFailed) as failed:
                await (await task.delay()).result(timeout=10)
            frames = failed.value.frames
            assert [frame.function for frame in frames] == [name, "inner"]
            assert all(frame.file.endswith("test_raising.py") for frame in frames)
            assert frames[-1].code == 'raise ValueError("deep")'


async def test_a_task_that_cancels_itself_has_failed_and_cancels_nobody_else(app: App) -> None:
    @app.task(retries=0)
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @app.task
    async def fine() -> str:
        return "fine"

    async with app.worker(concurrency=1):
        with pytest.raises(JobFailed, match="CancelledError"):
            await (await cancels_itself.delay()).result(timeout=10)
        assert await (await fine.delay()).result(timeout=10) == "fine"


async def test_a_hundred_jobs_that_exit_at_once_end_nobody(app: App) -> None:
    @app.task(retries=0)
    async def leave() -> None:
        await asyncio.sleep(0)
        sys.exit(1)

    jobs = await app.enqueue_many([leave.s() for _ in range(100)])
    async with app.worker() as worker:
        await worker.run_until_empty()
        assert worker.tally["failed"] == 100
    assert {await job.status() for job in jobs} == {"failed"}
